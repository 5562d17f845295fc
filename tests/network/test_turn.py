"""Students who can reach nothing of the school but a TURN server, and the one port of the pages.

Three machines: the school's server, the TURN server, and the student. The TURN server has a cable to each of the other
two and passes nothing on but what it relays; the pages go through a reverse proxy beside it.
"""

from __future__ import annotations

import asyncio
import errno
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.needs import missing
from tests.network.conftest import HTTP, forwarding, school, watch
from tests.network.coturn import PORT, SECRET, coturn
from tests.network.namespaces import Namespace, Network
from tests.pages.conftest import OpenPage, chromium, chromium_path
from tests.pages.waiting import grows

pytestmark = pytest.mark.asyncio(loop_scope="module")

TONE = 0.1
"""The pretended tutor hums at 0.17; before its sound comes there is silence."""


@dataclass(frozen=True)
class Place:
    """school_side, student_side: the TURN server's addresses."""

    server: Namespace
    turn: Namespace
    student: Namespace
    server_address: str
    school_side: str
    student_side: str
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{self.student_side}:{HTTP}"

    @asynccontextmanager
    async def open(self, name: str, **webrtc: Any) -> AsyncIterator[None]:
        """The school's server, with these settings beside those of the TURN server."""
        turn = {
            "turn_server": f"turn:{self.student_side}:{PORT}",
            "turn_server_local": f"turn:{self.school_side}:{PORT}",
            "turn_secret": SECRET,
            **webrtc,
        }
        async with school(self.folder / name, self.server, self.server_address, [self.student_side], **turn):
            yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(network: Network, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    server, turn, student = (network.machine(role) for role in ("server", "turn", "student"))
    school_side, server_address = network.join(turn, server, "10.81.1")
    student_side, _ = network.join(turn, student, "10.81.2")
    folder = tmp_path_factory.mktemp("turn")
    # It listens on both sides and relays from the school's: the student has no way to what it relays.
    with coturn(folder, "0.0.0.0", school_side, machine=turn):
        async with forwarding(turn, (student_side, HTTP), (server_address, HTTP)):
            yield Place(server, turn, student, server_address, school_side, student_side, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relaying(place: Place) -> AsyncIterator[Place]:
    """A school that relays everything, to its students over TCP."""
    turn = f"turn:{place.student_side}:{PORT}?transport=tcp"
    async with place.open("relaying", turn_server=turn, ice_transport_policy="relay"):
        yield place


def reaches(address: tuple[str, int]) -> Callable[[], int]:
    """Gives the error's number, 0 for none."""

    def attempt() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            return made.connect_ex(address)

    return attempt


async def test_the_student_has_no_other_way(place: Place) -> None:
    assert place.student.inside(reaches((place.student_side, PORT))) == 0
    for address in (place.server_address, place.school_side, "192.0.2.1"):
        assert place.student.inside(reaches((address, PORT))) == errno.ENETUNREACH
    assert "ip_forward = 0" in place.turn.run("sysctl", "net.ipv4.ip_forward")


async def test_picture_and_sound_come_through_turn_with_the_sessions_own_credentials(place: Place) -> None:
    async with place.open("both-ways"):
        found = await watch(place.student, place.url)
    assert found["status"] == 201
    (viewer,) = found["viewers"]
    assert viewer["frames"] >= 10
    assert viewer["loudness"] > TONE
    assert viewer["local"] == "relay"
    assert {kind for kind, *_ in found["answer"]} == {"host", "relay"}


async def test_where_everything_is_relayed_answers_name_no_address_of_the_server(relaying: Place) -> None:
    found = await watch(relaying.student, relaying.url, 2)
    assert found["status"] == 201
    assert [viewer["local"] for viewer in found["viewers"]] == ["relay"] * 2
    assert all(viewer["frames"] >= 10 and viewer["loudness"] > TONE for viewer in found["viewers"])
    assert {(kind, address) for kind, address, _ in found["answer"]} == {("relay", relaying.school_side)}
    assert "credential" not in (relaying.folder / "turnserver.log").read_text()


async def test_students_with_old_or_made_up_credentials_are_not_relayed(relaying: Place) -> None:
    names = [f"{int(time.time()) - 60}:late", f"{int(time.time()) + 600}:forged"]
    watching = [watch(relaying.student, relaying.url, seconds=3.0, username=name) for name in names]
    for name, found in zip(names, await asyncio.gather(*watching), strict=True):
        assert [viewer["frames"] for viewer in found["viewers"]] == [0]
        assert f"Cannot find credentials of user <{name}>" in (relaying.folder / "turnserver.log").read_text()


# -- the student page -----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(place: Place) -> AsyncIterator[Browser]:
    """Chromium on the student's machine."""
    path = chromium_path()
    if path is None:
        missing("Chromium is not installed; `make test` installs it")
    wrapper = place.folder / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(place.student.command(path))} "$@"\n')
    wrapper.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTERN_CHROMIUM", str(wrapper))
        async with chromium() as started:
            yield started


SELECTED = """async () => {
    const reports = await window.lectern.pc.getStats();
    const transport = [...reports.values()].find((each) => each.type === "transport");
    const pair = reports.get(transport.selectedCandidatePairId);
    const local = reports.get(pair.localCandidateId);
    return [local.candidateType, local.relayProtocol, reports.get(pair.remoteCandidateId).candidateType];
}"""
"""The kinds of the candidates in use, and the protocol to the relay."""


@pytest.mark.browser
async def test_the_page_plays_through_the_relay(relaying: Place, open_page: OpenPage) -> None:
    page = await open_page(f"{relaying.url}/?tutor=ada")
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=30_000)
    await grows(page, "frames", 10)
    await grows(page, "currentTime", 0.3)
    await grows(page, "audioEnergy", 1e-4)
    assert await page.evaluate(SELECTED) == ["relay", "tcp", "relay"]
    await page.click("#leave")


OLD = """
const Real = RTCPeerConnection;
window.RTCPeerConnection = function (configuration) {
    for (const server of configuration.iceServers) server.username = server.username.replace(/^\\d+/, "1");
    return new Real(configuration);
};
"""
"""The page's credentials ran out long ago."""


@pytest.mark.browser
async def test_the_page_says_that_the_turn_server_refused_it(relaying: Place, open_page: OpenPage) -> None:
    page = await open_page(f"{relaying.url}/?tutor=ada", before=OLD)
    await page.click("#start")
    await expect(page.locator("#notice-hint")).to_contain_text("refused this page's credentials", timeout=30_000)
