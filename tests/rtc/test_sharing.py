"""Many real viewers on one UDP port, and neighbours who mean them ill."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import aioice.ice
import pytest
from aioice import stun
from aiortc.rtp import RTCP_PSFB_PLI

from server.rtc.media_port import MediaPort
from server.rtc.registry import Entry, PeerRegistry
from server.rtc.settings import RtcSettings
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive
from tests.rtc.test_media import named, tell, watch


@pytest.fixture(autouse=True)
def _one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def connection(entry: Entry) -> Any:
    return entry.peer._transport.transport._connection


def port_of(entry: Entry) -> MediaPort:
    """The port that the connection's media takes."""
    (pair,) = connection(entry)._nominated.values()
    port: MediaPort = pair.protocol.transport._port
    return port


def socket_of(viewer: AiortcViewer) -> Any:
    """The viewer's own transport, and the server's address as it sees it."""
    connected = viewer.pc.getTransceivers()[0].receiver.transport.transport._connection
    (pair,) = connected._nominated.values()
    return pair.protocol.transport, pair.remote_addr


def forged(entry: Entry, password: str | None = None) -> bytes:
    """A check of this connection; password: instead of its own."""
    own = connection(entry)
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes = {
        "USERNAME": f"{own.local_username}:{own.remote_username}",
        "PRIORITY": 1,
        "ICE-CONTROLLING": 1,
        "USE-CANDIDATE": None,
    }
    message.add_message_integrity((password or own.local_password).encode())
    return bytes(message)


async def test_twenty_five_viewers_on_one_port(viewers: list[AiortcViewer]) -> None:
    peers = PeerRegistry(RtcSettings(port_min=27330, port_max=27330, max_peers_per_session=30))
    async with FakeLive(width=64, height=36) as live:
        for _ in range(25):
            viewer = AiortcViewer(("video",))
            viewers.append(viewer)
            _, answer = await peers.connect("s", live, "h264", await viewer.offer())
            assert named(answer) == [("127.0.0.1", 27330)]
            await viewer.accept(answer)
            await viewer.until(lambda: viewers[-1].frames >= 1)
        await until(lambda: all(viewer.frames >= 3 for viewer in viewers))
        assert [entry.peer.state for entry in peers.of("s")] == ["connected"] * 25
        assert len({id(port_of(entry)) for entry in peers.of("s")}) == 1, "all on one socket"
        await peers.close()


async def test_strangers_neither_end_nor_redirect_a_viewers_media(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    port = port_of(entry)
    before = set(port.addresses)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((port.name[0], 0))
        stranger.setblocking(False)
        for _ in range(50):
            stranger.sendto(forged(entry, "x" * 22), port.name)
            stranger.sendto(b"\x16\xfe\xfd" + os.urandom(40), port.name)
            stranger.sendto(b"\x80\xc8" + os.urandom(40), port.name)
            stranger.sendto(b"", port.name)
        seen, keys = viewer.frames, live.keys_requested
        await until(lambda: viewer.frames >= seen + 10)
        with pytest.raises(BlockingIOError):
            stranger.recv(2000)
    assert set(port.addresses) == before
    assert peers.ports.counts.strange >= 200
    await tell(viewer, RTCP_PSFB_PLI)
    await until(lambda: live.keys_requested > keys)


async def test_a_viewer_that_takes_anothers_address_gets_nothing_of_it_and_breaks_nothing(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    """One with credentials of its own sends checks that seem to come from another's address."""
    victim, entry = await watch(peers, live, viewers)
    other, others = await watch(peers, live, viewers)
    await until(lambda: victim.frames >= 3 and other.frames >= 3)
    victims_socket, server = socket_of(victim)
    assert port_of(entry) is port_of(others)
    for _ in range(20):
        victims_socket.sendto(forged(others), server)
        await asyncio.sleep(0.02)
    seen = victim.frames, other.frames
    await until(lambda: victim.frames >= seen[0] + 20 and other.frames >= seen[1] + 20)
    keys = live.keys_requested
    await tell(victim, RTCP_PSFB_PLI)
    await until(lambda: live.keys_requested > keys)
    assert [each.peer.state for each in (entry, others)] == ["connected"] * 2
    await other.close()
    await until(lambda: peers.count() == 1)
    seen = victim.frames, 0
    await until(lambda: victim.frames >= seen[0] + 10)
    assert entry.peer.state == "connected"


async def test_a_viewers_addresses_are_bounded_however_many_it_shows(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    port = port_of(entry)
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
            another.bind((port.name[0], 0))
            another.sendto(forged(entry), port.name)
        await asyncio.sleep(0)
    seen = viewer.frames
    await until(lambda: viewer.frames >= seen + 5)
    assert len(connection(entry).remote_candidates) <= 64
    assert len(set(port.addresses)) <= 16
    assert entry.peer.state == "connected"


async def test_over_ipv6_too(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["::1"])
    viewer = AiortcViewer()
    viewers.append(viewer)
    entry, answer = await peers.connect("s", live, "h264", await viewer.offer())
    assert {address for address, _ in named(answer)} == {"::1"}
    await viewer.accept(answer)
    await until(lambda: viewer.frames >= 3 and viewer.samples > 0)
    assert port_of(entry).name[0] == "::1"
    keys = live.keys_requested
    await tell(viewer, RTCP_PSFB_PLI)
    await until(lambda: live.keys_requested > keys)
