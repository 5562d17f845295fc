"""This server as a client of Debian's coturn, on loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.rtc import peer
from server.rtc.checks import try_turn
from server.rtc.private_ice import NoRelayError
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.network.coturn import SECRET, coturn
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TURN server."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    with coturn(tmp_path_factory.mktemp("coturn"), LOOPBACK, LOOPBACK, port=port):
        yield f"turn:{LOOPBACK}:{port}"


@asynccontextmanager
async def relaying(turn: str, secret: str = SECRET, **more: Any) -> AsyncIterator[PeerRegistry]:
    peers = PeerRegistry(RtcSettings(turn_server=turn, turn_secret=secret, ice_transport_policy="relay", **more))
    try:
        yield peers
    finally:
        await peers.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_media_is_relayed_and_no_other_address_is_told(
    turn: str, transport: str, live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "SERVERS_SECONDS", 4.0)  # a busy machine may keep coturn waiting
    async with relaying(f"{turn}?transport={transport}") as peers:
        viewer = AiortcViewer()
        viewers.append(viewer)
        entry, answer = await peers.connect("s", live, "h264", await viewer.offer(), place="here")
        (line,) = {line for line in answer.split("\r\n") if line.startswith("a=candidate:")}
        assert line.split()[7:] == ["relay", "raddr", "0.0.0.0", "rport", "9"]
        assert peers.ports.count == 0, "no port is open"
        offer = await viewer.offer()
        for candidate in [each[2:] for each in offer.split("\r\n") if each.startswith("a=candidate:")]:
            await entry.peer.add_candidate(candidate)
        await viewer.accept(answer)
        await until(lambda: viewer.frames >= 5 and viewer.samples > 0)
        assert entry.peer.state == "connected"


async def test_a_server_with_another_secret_is_told_what_is_wrong(
    turn: str, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    async with relaying(turn, secret="south") as peers:
        with pytest.raises(NoRelayError, match=r"refused .* \(401\): .* static-auth-secret .* clocks"):
            await peers.connect("s", live, "h264", await viewer.offer())


async def test_a_turn_server_that_fails_costs_a_server_with_another_way_nothing(
    turn: str, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    peers = PeerRegistry(RtcSettings(turn_server=turn, turn_secret="south"))
    try:
        _, answer = await peers.connect("s", live, "h264", await viewer.offer(), place="here")
        await viewer.accept(answer)
        await until(lambda: viewer.frames >= 3)
    finally:
        await peers.close()


async def test_the_doctor_asks_for_a_relay_and_says_what_is_wrong(turn: str) -> None:
    works, found = await try_turn(RtcSettings(turn_server=turn, turn_secret=SECRET))
    assert works
    assert found.startswith(f"{LOOPBACK}:")
    works, found = await try_turn(RtcSettings(turn_server=turn, turn_secret="south"))
    assert not works
    assert "static-auth-secret" in found
    works, found = await try_turn(RtcSettings(turn_server=f"turn:{LOOPBACK}:1?transport=tcp", turn_secret=SECRET))
    assert not works
    assert "cannot be reached" in found
