"""A viewer's data channel: both directions, and what happens to one that sends too much, too fast, or nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiortc import RTCDataChannel
from aiortc.rtcsctptransport import WEBRTC_STRING, DataChunk

from server.rtc.data_channel import BURST, MAX_UNSENT, MAX_WAITING, Allowance, DataChannel, Refusal
from server.rtc.offer import MAX_MESSAGE, read_offer
from server.rtc.peer import Peer
from server.rtc.private import MAX_FRAGMENTS, MAX_STREAMS
from server.rtc.registry import PeerRegistry
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive


class Sink:
    """Keeps what comes; `hold` keeps it from taking more."""

    def __init__(self, channel: DataChannel) -> None:
        self.channel = channel
        self.got: list[str] = []
        self.refusals: list[Refusal] = []
        self.over: list[str] = []
        self.go = asyncio.Event()
        self.go.set()

    async def received(self, text: str) -> None:
        self.got.append(text)
        await self.go.wait()
        if text == "fail":
            raise RuntimeError("a mistake in who talks")

    def refused(self, why: Refusal) -> None:
        self.refusals.append(why)

    def closed(self, reason: str) -> None:
        self.over.append(reason)
        self.channel.send("bye")


Connect = Callable[..., Awaitable[tuple[AiortcViewer, RTCDataChannel, Peer, Sink]]]


@pytest.fixture
def connect(live: FakeLive, peers: PeerRegistry, viewers: list[AiortcViewer]) -> Connect:
    async def make(change: Callable[[str], str] = str) -> tuple[AiortcViewer, RTCDataChannel, Peer, Sink]:
        viewer = AiortcViewer()
        viewers.append(viewer)
        channel = viewer.pc.createDataChannel("chat")
        sinks: list[Sink] = []

        def talk(opened: DataChannel) -> Sink:
            sinks.append(Sink(opened))
            return sinks[-1]

        offer = read_offer(change(await viewer.offer()), data=True)
        entry, answer = await peers.connect("s", live, "h264", offer, place="here", talk=talk)
        await viewer.accept(answer)
        await until(lambda: bool(sinks) and channel.readyState == "open")
        return viewer, channel, entry.peer, sinks[0]

    return make


async def test_messages_go_both_ways_beside_the_picture(connect: Connect) -> None:
    viewer, channel, peer, sink = await connect()
    came: list[Any] = []
    channel.on("message", came.append)
    channel.send("one")
    channel.send("fail")
    channel.send("ü" * 20_000)  # more than a packet takes
    await until(lambda: len(sink.got) == 3)
    assert sink.got == ["one", "fail", "ü" * 20_000]
    sink.channel.send("back")
    await until(lambda: came == ["back"])
    await viewer.until(lambda: viewer.frames > 5 and viewer.samples > 0)
    assert peer.state == "connected"
    assert sink.refusals == []


async def test_the_viewer_is_told_how_large_a_message_may_be(connect: Connect) -> None:
    _, channel, _, sink = await connect()
    with pytest.raises(ValueError, match="only supports messages up to 65536 bytes"):
        channel.send("x" * (MAX_MESSAGE + 1))
    channel.send("x" * MAX_MESSAGE)
    await until(lambda: len(sink.got) == 1)


async def test_a_message_that_is_too_large_is_dropped(connect: Connect) -> None:
    viewer, channel, peer, sink = await connect()
    viewer.pc.sctp._remote_max_message_size = 0  # as if it had not been told
    channel.send("ü" * (MAX_MESSAGE // 2 + 1))
    channel.send("after it")
    await until(lambda: sink.got == ["after it"])
    assert sink.refusals == ["too_large"]
    assert peer.state == "connected"


async def test_bytes_are_dropped(connect: Connect) -> None:
    _, channel, _, sink = await connect()
    channel.send(b"\x00\x01")
    channel.send("after it")
    await until(lambda: sink.got == ["after it"])
    assert sink.refusals == ["not_text"]


async def test_what_comes_while_too_much_waits_is_dropped_and_told_once(connect: Connect) -> None:
    viewer, channel, _, sink = await connect()
    sink.go.clear()
    channel.send("first")
    await until(lambda: sink.got == ["first"])
    for number in range(MAX_WAITING + 5):
        channel.send(str(number))
    await until(lambda: not (channel.bufferedAmount or viewer.pc.sctp._outbound_queue or viewer.pc.sctp._sent_queue))
    assert sink.refusals == ["too_many"]
    sink.go.set()
    channel.send("last")
    await until(lambda: sink.got[-1] == "last")
    assert sink.got == ["first", *map(str, range(MAX_WAITING)), "last"]
    assert sink.refusals == ["too_many"]


async def test_a_flood_is_thinned(connect: Connect) -> None:
    _, channel, peer, sink = await connect()
    for number in range(20 * BURST):
        channel.send(str(number))
    await until(lambda: "too_many" in sink.refusals)
    await until(lambda: peer.state == "connected" and len(sink.got) >= BURST // 2)
    await asyncio.sleep(1.0)
    assert len(sink.got) < 5 * BURST


def test_an_allowance_is_used_up_and_comes_back_with_time() -> None:
    allowance = Allowance(3, 2.0)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(10.5), allowance.take(10.5)] == [True, False]
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]


async def test_a_viewer_that_takes_nothing_loses_its_connection(connect: Connect) -> None:
    viewer, _, peer, sink = await connect()

    async def deaf(data: bytes) -> None:
        pass

    viewer.pc.sctp._handle_data = deaf
    for _ in range(MAX_UNSENT // 16_384 + 3):
        sink.channel.send("x" * 16_384)
    await until(lambda: peer.state == "closed")
    assert peer.reason == "slow"
    assert sink.over == ["slow"]


async def test_a_viewer_that_takes_too_little_loses_its_connection(connect: Connect) -> None:
    _, _, peer, sink = await connect(lambda offer: offer.replace("max-message-size:262144", "max-message-size:4"))
    sink.channel.send("four")
    sink.channel.send("fives")
    await until(lambda: peer.state == "closed")
    assert peer.reason == "takes_too_little"


async def test_messages_that_never_end_end_the_connection(connect: Connect) -> None:
    viewer, channel, peer, _ = await connect()
    sctp = viewer.pc.sctp
    for number in range(MAX_FRAGMENTS + 8):
        if peer.state == "closed":
            break
        chunk = DataChunk()
        chunk.flags = 2 if number == 0 else 0  # the first piece, and then middles for ever
        chunk.tsn = (sctp._local_tsn + number) % 2**32
        chunk.stream_id, chunk.stream_seq, chunk.protocol = channel.id, 7, WEBRTC_STRING
        chunk.user_data = b"x"
        with contextlib.suppress(ConnectionError):  # it has been closed just now
            await sctp._send_chunk(chunk)
        if number % 32 == 0:
            await asyncio.sleep(0.01)
    await until(lambda: peer.state == "closed")
    assert peer.reason == "bad_data"
    assert number >= MAX_FRAGMENTS


async def test_text_that_is_none_ends_the_connection(connect: Connect) -> None:
    viewer, channel, peer, sink = await connect()
    await viewer.pc.sctp._send(channel.id, WEBRTC_STRING, b"\xff\xfe")
    await until(lambda: peer.state == "closed")
    assert peer.reason == "bad_data"
    assert sink.over == ["bad_data"]


async def test_further_channels_are_closed_and_too_many_end_the_connection(connect: Connect) -> None:
    viewer, channel, peer, sink = await connect()
    second = viewer.pc.createDataChannel("more")
    await until(lambda: second.readyState == "closed")
    channel.send("still here")
    await until(lambda: sink.got == ["still here"])
    for number in range(MAX_STREAMS + 1):
        viewer.pc.createDataChannel(f"more {number}")
    await until(lambda: peer.state == "closed")
    assert peer.reason == "bad_data"


async def test_last_words_arrive_and_nothing_is_left(connect: Connect, peers: PeerRegistry) -> None:
    _, channel, peer, sink = await connect()
    came: list[Any] = []
    channel.on("message", came.append)
    await peers.close_session("s")
    assert sink.over == ["session_ended"]
    await until(lambda: came == ["bye"])
    await until(lambda: channel.readyState == "closed")
    assert "data-channel" not in [task.get_name() for task in asyncio.all_tasks()]
    sink.channel.send("to nobody")
    assert peer.state == "closed"


async def test_without_somebody_who_talks_there_is_no_channel(
    live: FakeLive, peers: PeerRegistry, viewers: list[AiortcViewer]
) -> None:
    viewer = AiortcViewer()
    viewers.append(viewer)
    channel = viewer.pc.createDataChannel("chat")
    _, answer = await peers.connect("s", live, "h264", await viewer.offer(), place="here")
    assert "m=application 0 " in answer
    assert channel.readyState == "connecting"
