"""Media over real connections on this machine, with aiortc as the viewer."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from typing import Any

import aioice.ice
import pytest
from aioice import stun
from aiortc import RTCRtpReceiver
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_FIR, RTCP_PSFB_PLI, RtcpPsfbPacket, pack_remb_fci

from server.rtc import private_ice
from server.rtc.media_port import MediaPorts
from server.rtc.offer import BadOffer
from server.rtc.peer import Peer
from server.rtc.private_ice import NoPortError
from server.rtc.registry import Entry, PeerRegistry, TooManyPeersError
from server.rtc.settings import RtcSettings
from tests.loop_time import LoopTime
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive


async def watch(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer], *kinds: str, direction: str = "recvonly"
) -> tuple[AiortcViewer, Entry]:
    viewer = AiortcViewer(kinds or ("audio", "video"), direction)
    viewers.append(viewer)
    entry, answer = await peers.connect("s", live, live.video.codec, await viewer.offer(), place="here")
    await viewer.accept(answer)
    return viewer, entry


def receiver_of(viewer: AiortcViewer, kind: str) -> RTCRtpReceiver:
    return next(t.receiver for t in viewer.pc.getTransceivers() if t.kind == kind)


async def tell(viewer: AiortcViewer, fmt: int, fci: bytes = b"", media_ssrc: int | None = None) -> None:
    """Send RTCP feedback about the picture, as a browser does."""
    receiver = receiver_of(viewer, "video")
    ssrc = receiver.getSynchronizationSources()[0].source
    packet = RtcpPsfbPacket(fmt=fmt, ssrc=1, media_ssrc=ssrc if media_ssrc is None else media_ssrc, fci=fci)
    await receiver.transport._send_rtp(bytes(packet))


async def test_sound_and_picture_arrive(peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 25 and viewer.samples >= 48_000)
    assert viewer.loudness == pytest.approx(8000 / 32768 / 2**0.5, rel=0.1)
    stats = await entry.peer.stats()
    assert entry.peer.state == stats.state == "connected"
    assert stats.bytes > 5000
    assert stats.packets >= 50


async def test_a_second_viewer_costs_no_second_encode_and_starts_at_once(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    first, _ = await watch(peers, live, viewers)
    await until(lambda: first.frames >= 15)
    late, _ = await watch(peers, live, viewers)
    await until(lambda: late.frames >= 3 and late.samples > 0)
    encoded, begun = live.pictures, time.monotonic()
    seen = first.frames, late.frames
    await until(lambda: first.frames >= seen[0] + 20 and late.frames >= seen[1] + 20)
    assert live.pictures - encoded <= (time.monotonic() - begun) * 25 + 2


async def test_vp8_arrives_too(peers: PeerRegistry, viewers: list[AiortcViewer]) -> None:
    async with FakeLive(codec="vp8") as live:
        viewer, _ = await watch(peers, live, viewers)
        await until(lambda: viewer.frames >= 10)


@pytest.mark.parametrize("kinds", [("video",), ("audio",), ("video", "audio")])
async def test_what_is_asked_for_is_sent_in_the_order_of_the_offer(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer], kinds: tuple[str, ...]
) -> None:
    viewer, _ = await watch(peers, live, viewers, *kinds)
    await until(lambda: (viewer.frames >= 5) >= ("video" in kinds) and (viewer.samples > 0) >= ("audio" in kinds))
    assert (viewer.frames > 0, viewer.samples > 0) == ("video" in kinds, "audio" in kinds)


async def test_a_microphone_is_answered_but_not_listened_to(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, _ = await watch(peers, live, viewers, direction="sendrecv")
    await until(lambda: viewer.frames >= 5 and viewer.samples > 0)
    assert [t.currentDirection for t in viewer.pc.getTransceivers()] == ["recvonly", "recvonly"]


async def test_an_offer_without_candidates_connects(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    offer = "\r\n".join(line for line in (await viewer.offer()).split("\r\n") if "candidate" not in line)
    _, answer = await peers.connect("s", live, "h264", offer, place="here")
    await viewer.accept(answer)
    await until(lambda: viewer.frames >= 3)


async def test_pli_and_fir_ask_the_session_for_a_keyframe(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    before = live.keys_requested
    await tell(viewer, RTCP_PSFB_PLI)
    await until(lambda: live.keys_requested == before + 1)
    await tell(viewer, RTCP_PSFB_FIR)
    await until(lambda: live.keys_requested == before + 2)
    assert (await entry.peer.stats()).keys_wanted == before + 2


async def test_the_viewers_estimate_reaches_the_session(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    ssrc = receiver_of(viewer, "video").getSynchronizationSources()[0].source
    await tell(viewer, RTCP_PSFB_APP, pack_remb_fci(777_000, [ssrc]), media_ssrc=0)
    (place,) = live.viewers
    await until(lambda: any(abs(bitrate - 777_000) < 2000 for bitrate in place.estimates))
    assert (await entry.peer.stats()).estimate is not None


async def test_leaving_frees_everything_of_the_viewer(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    await viewer.close()
    await until(lambda: peers.count() == 0)
    assert not live.viewers
    assert entry.peer.state == "closed"
    assert entry.peer.reason == "left"


async def test_a_viewer_whose_network_vanishes_is_noticed_and_one_that_lives_stays(
    live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    peers = PeerRegistry(RtcSettings(silence_seconds=3))
    try:
        gone, entry = await watch(peers, live, viewers)
        stays, _ = await watch(peers, live, viewers)
        await until(lambda: gone.frames >= 3 and stays.frames >= 3)
        for protocol in receiver_of(gone, "video").transport.transport._connection._protocols:
            protocol.transport.abort()
        async with LoopTime() as took:
            await until(lambda: peers.count() == 1)
        assert took.seconds < 6
        assert entry.peer.reason == "vanished"
        assert len(live.viewers) == 1
        seen = stays.frames
        await until(lambda: stays.frames >= seen + 10)
    finally:
        await peers.close()
    assert not live.viewers


async def test_an_offer_whose_viewer_never_comes_is_given_up(live: FakeLive, viewers: list[AiortcViewer]) -> None:
    peers = PeerRegistry(RtcSettings(connect_seconds=0.4))
    viewer = AiortcViewer()
    viewers.append(viewer)
    entry, _ = await peers.connect("s", live, "h264", await viewer.offer())
    async with LoopTime() as took:
        await until(lambda: peers.count() == 0)
    assert took.seconds < 3
    assert entry.peer.reason == "never_connected"
    assert live.joins == 0
    await peers.close()


async def test_when_the_session_ends_its_viewers_go(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)
    for place in tuple(live.viewers):
        place.close()
    await until(lambda: peers.count() == 0)
    assert entry.peer.reason == "session_ended"
    await until(lambda: viewer.pc.connectionState == "closed")


async def test_closing_a_session_closes_its_viewers_only(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    await watch(peers, live, viewers)
    other = AiortcViewer()
    viewers.append(other)
    await peers.connect("other", live, "h264", await other.offer(), place="here")
    await peers.close_session("s")
    assert peers.count("s") == 0
    assert peers.count("other") == 1


async def test_a_viewer_that_cannot_take_the_sessions_codec_is_told(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer]
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    offer = "\r\n".join(line for line in (await viewer.offer()).split("\r\n") if "H264" not in line)
    offer = "\r\n".join(line for line in offer.split("\r\n") if not line.startswith(("a=fmtp", "a=rtcp-fb")))
    with pytest.raises(BadOffer, match="H264") as refused:
        await peers.connect("s", live, "h264", offer)
    assert refused.value.code == "codec_unsupported"
    assert refused.value.understood
    await until(lambda: peers.count() == 0)


async def test_the_number_of_viewers_is_limited(live: FakeLive, viewers: list[AiortcViewer]) -> None:
    peers = PeerRegistry(RtcSettings(max_peers_per_session=1, max_peers=2))
    viewer = AiortcViewer()
    viewers.append(viewer)
    offer = await viewer.offer()
    await peers.connect("s", live, "h264", offer)
    with pytest.raises(TooManyPeersError, match="1 viewers"):
        await peers.connect("s", live, "h264", offer)
    await peers.connect("t", live, "h264", offer)
    with pytest.raises(TooManyPeersError, match="server"):
        await peers.connect("u", live, "h264", offer)
    await peers.close()
    assert peers.count() == 0
    with pytest.raises(TooManyPeersError, match="shutting down"):
        await peers.connect("s", live, "h264", offer)


def named(answer: str) -> list[tuple[str, int]]:
    """The addresses that an answer names, each once: every section has them."""
    lines = [line.split() for line in answer.split("\r\n") if line.startswith("a=candidate:")]
    return list(dict.fromkeys((line[4], int(line[5])) for line in lines))


async def test_all_viewers_share_one_port_of_the_range_and_its_end_is_told(
    live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    offer = await viewer.offer()
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    peers = PeerRegistry(RtcSettings(port_min=27310, port_max=27311))
    try:
        for _ in range(3):
            _, answer = await peers.connect("s", live, "h264", offer)
            assert named(answer) == [("127.0.0.1", 27310)]
        await peers.close_session("s")
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            other.bind(("127.0.0.1", 27310))  # free again; and now another program has it
            _, answer = await peers.connect("s", live, "h264", offer)
            assert named(answer) == [("127.0.0.1", 27311)]
            await peers.close_session("s")
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as another:
                another.bind(("127.0.0.1", 27311))
                with pytest.raises(NoPortError):
                    await peers.connect("s", live, "h264", offer)
        await peers.connect("s", live, "h264", offer)
    finally:
        await peers.close()


async def test_the_answer_names_the_public_address(live: FakeLive, viewers: list[AiortcViewer]) -> None:
    peers = PeerRegistry(RtcSettings(public_ip="203.0.113.7"))
    viewer = AiortcViewer()
    viewers.append(viewer)
    _, answer = await peers.connect("s", live, "h264", await viewer.offer())
    told = {address for address, _ in named(answer)}
    assert [address for address in told if ":" not in address] in (["203.0.113.7"], ["127.0.0.1"])
    await peers.close()


async def test_a_machine_without_a_network_still_has_loopback(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    offer = await viewer.offer()
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    _, answer = await peers.connect("s", live, "h264", offer, place="outside")
    await viewer.accept(answer)
    await until(lambda: viewer.frames >= 3)


async def test_trickled_candidates_are_checked_and_names_are_passed_over(
    live: FakeLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looked_up(connection: Any) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(aioice.ice, "get_or_create_mdns_protocol", looked_up)
    viewer = AiortcViewer()
    peer = Peer(live, "h264", RtcSettings(), MediaPorts((0,)))
    try:
        await peer.answer(await viewer.offer())
        await peer.add_candidate(
            "candidate:1 1 udp 2113937151 0a1b2c3d-1111-2222-3333-444455556666.local 5000 typ host"
        )
        await peer.add_candidate("candidate:1 1 tcp 2113937151 192.0.2.1 9 typ host tcptype active")
        await peer.add_candidate("")
        for i in range(100):
            await peer.add_candidate(f"candidate:1 1 udp 2113937151 192.0.2.9 {5000 + i} typ host")
        connection = peer._pc.getTransceivers()[0].receiver.transport.transport._connection
        assert len(connection.remote_candidates) <= 32
        for garbage in ("candidate:1", "candidate:x y z", "hello there how are you doing my old friend"):
            with pytest.raises(BadOffer):
                await peer.add_candidate(garbage)
    finally:
        await peer.close()
        await viewer.close()


async def test_closing_in_the_middle_of_the_handshake_leaves_no_task(live: FakeLive) -> None:
    before = asyncio.all_tasks()
    for pause in (0, 0.01, 0.03, 0.05, 0.07):
        viewer = AiortcViewer()
        peer = Peer(live, "h264", RtcSettings(), MediaPorts((0,)), place="here")
        await viewer.accept(await peer.answer(await viewer.offer()))
        await asyncio.sleep(pause)
        await peer.close()
        await peer.close()
        await viewer.close()
    await until(lambda: asyncio.all_tasks() <= before)
    assert not live.viewers


async def test_a_source_that_breaks_ends_the_connection_rather_than_leaving_it_dark(
    peers: PeerRegistry, live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, entry = await watch(peers, live, viewers)
    await until(lambda: viewer.frames >= 3)

    async def broken() -> None:
        raise RuntimeError("the encoder is on fire")

    (place,) = live.viewers
    monkeypatch.setattr(place, "video", broken)
    await until(lambda: peers.count() == 0)
    assert entry.peer.reason == "sender_stopped"
    assert not live.viewers


class StunServer(asyncio.DatagramProtocol):
    """Tells everybody that they come from 198.51.100.7."""

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        response = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
            attributes={"XOR-MAPPED-ADDRESS": ("198.51.100.7", address[1])},
        )
        self.transport.sendto(bytes(response), address)


async def test_the_answer_names_the_address_that_a_stun_server_sees(
    live: FakeLive, viewers: list[AiortcViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    peers = PeerRegistry(RtcSettings(stun_server=f"127.0.0.1:{port}", loopback="off"))
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.2"])
    monkeypatch.setattr(private_ice, "_reaches_out", lambda host: True)
    monkeypatch.setattr("server.rtc.peer.SERVERS_SECONDS", 4.0)
    try:
        viewer = AiortcViewer()
        viewers.append(viewer)
        _, answer = await peers.connect("s", live, "h264", await viewer.offer())
        assert " 198.51.100.7 " in answer
        assert "typ srflx" in answer
    finally:
        await peers.close()
        transport.close()
