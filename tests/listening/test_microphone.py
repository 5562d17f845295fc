"""A viewer's microphone over WebRTC: offered, answered, received, and gone without a trace."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from av import AudioFrame

from server.rtc.offer import complete_answer, read_offer
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.listening.fakes import FileMicrophone
from tests.loop_time import LoopTime
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive
from tests.rtc.test_offer import sdp, section

SENDRECV = sdp(section("audio", "0", direction="sendrecv"), section("video", "1", direction="sendrecv"))


def test_a_microphone_is_taken_where_somebody_listens() -> None:
    offer = read_offer(SENDRECV, listen=True)
    assert offer.microphone
    audio, video = re.split(r"m=video", offer.text)
    assert "a=sendrecv" in audio
    assert "a=recvonly" in video, "a camera is not"
    assert "a=sendrecv" not in video


def test_without_a_listener_it_is_not() -> None:
    offer = read_offer(SENDRECV)
    assert not offer.microphone
    assert "a=sendrecv" not in offer.text


@pytest.mark.parametrize("direction", ["recvonly"])
def test_who_only_watches_is_not_heard(direction: str) -> None:
    offer = read_offer(sdp(section("audio", "0", direction=direction), section("video", "1")), listen=True)
    assert not offer.microphone
    assert offer.text.count("a=recvonly") == 2


def test_only_the_section_that_is_played_may_be_a_microphone() -> None:
    text = sdp(section("audio", "0"), section("audio", "mic", direction="sendrecv"), section("video", "1"))
    offer = read_offer(text, listen=True)
    assert not offer.microphone
    played = "v=0\r\nm=audio 5 P 111\r\na=mid:0\r\nm=video 5 P 96\r\na=mid:1\r\n"
    assert "m=audio 0" in complete_answer(offer, played)


@dataclass
class Sink:
    """Keeps what it is given, mono at 48 kHz."""

    pieces: list[np.ndarray] = field(default_factory=list)
    closed: int = 0

    def put(self, frame: AudioFrame) -> None:
        assert frame.sample_rate == 48_000
        self.pieces.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])

    def close(self) -> None:
        self.closed += 1

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.int16)


def decoders() -> int:
    return sum(thread.name == "audio-decoder" for thread in threading.enumerate())


@dataclass
class Call:
    viewer: AiortcViewer
    microphone: FileMicrophone
    sink: Sink
    peers: PeerRegistry
    answer: str


@asynccontextmanager
async def calling(sound: np.ndarray, *, listen: bool = True) -> AsyncIterator[Call]:
    """A viewer with a microphone, connected to a live session that is only pretended."""
    sink, microphone = Sink(), FileMicrophone(sound)
    viewer = AiortcViewer(kinds=())
    viewer.pc.addTrack(microphone)
    viewer.pc.addTransceiver("video", direction="recvonly")
    peers = PeerRegistry(RtcSettings())
    async with FakeLive() as live:
        try:
            offer = read_offer(await viewer.offer(), listen=listen)
            _, answer = await peers.connect(
                "s", live, "h264", offer, place="here", microphone=(lambda: sink) if listen else None
            )
            await viewer.accept(answer)
            yield Call(viewer, microphone, sink, peers, answer)
        finally:
            await viewer.close()
            await peers.close()
            microphone.stop()


async def test_its_sound_arrives_while_the_picture_goes_out() -> None:
    before = decoders()
    t = np.arange(48_000) / 48_000
    tone = (12_000 * np.sin(2 * np.pi * 500 * t)).astype(np.int16)
    async with calling(tone) as call:
        assert call.answer.count("a=sendrecv") == 1
        assert call.peers.microphones("s") == 1
        await until(lambda: len(call.sink.sound) > 60_000)
        await until(lambda: call.viewer.frames > 5)
        loud = call.sink.sound[np.flatnonzero(np.abs(call.sink.sound) > 3_000)[0] :][4_800:28_800].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(loud * np.hanning(len(loud))))
        assert np.argmax(spectrum) * 48_000 / len(loud) == pytest.approx(500, abs=3)
        level = np.sqrt((loud**2).mean())
        assert level == pytest.approx(12_000 / 2, rel=0.1), "aiortc spreads mono over two channels, 3 dB less each"
    assert call.sink.closed == 1
    await until(lambda: decoders() == before)


async def test_where_nobody_listens_nothing_is_received() -> None:
    before = decoders()
    async with calling(np.full(48_000, 5_000, np.int16), listen=False) as call:
        assert "a=sendrecv" not in call.answer
        assert call.answer.count("a=sendonly") == 2
        await until(lambda: call.viewer.frames > 5)
        assert call.sink.pieces == []
        assert call.peers.microphones("s") == 0
        assert decoders() == before + 1, "the viewer's own, in this process too"


async def test_a_viewer_that_vanishes_leaves_no_thread_and_no_task() -> None:
    before, tasks = decoders(), len(asyncio.all_tasks())
    for _ in range(3):
        async with calling(np.zeros(4_800, np.int16)) as call:
            await until(lambda call=call: bool(call.sink.pieces))  # type: ignore[misc]
            async with LoopTime() as took:
                await call.peers.close_session("s")
            assert took.seconds < 1
            assert call.sink.closed == 1
    await until(lambda: decoders() == before and len(asyncio.all_tasks()) <= tasks)
