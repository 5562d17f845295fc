"""Honest fakes: a recogniser that hears loudness, not words, and microphones that are files."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import Callable, Iterable

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from pipeline.ear import I16
from pipeline.recognise import RecogniserError
from pipeline.voice_activity import RATE

LOUD = 300  # RMS of 32768


class FakeRecogniser:
    """Gives the next of `texts` for sound that is loud somewhere (the last one from then on), "" for quiet sound.

    A text may be a function of the seconds of sound. delay: seconds an answer takes. fail: every request fails.
    asked: (seconds of sound, urgent) of each request.
    """

    def __init__(self, *texts: str | Callable[[float], str], delay: float = 0.0) -> None:
        self.texts = list(texts)
        self.delay = delay
        self.fail = False
        self.asked: list[tuple[float, bool]] = []
        self.closed = False
        self.open = 0

    async def warm_up(self) -> None:
        pass

    async def transcribe(self, sound: I16, *, urgent: bool) -> str:
        seconds = len(sound) / RATE
        self.asked.append((seconds, urgent))
        self.open += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open -= 1
        if self.fail:
            raise RecogniserError("the fake was told to fail")
        if loudness(sound) < LOUD:
            return ""
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return text if isinstance(text, str) else text(seconds)

    async def close(self) -> None:
        self.closed = True


def loudness(sound: I16) -> float:
    """RMS of the loudest tenth of a second."""
    blocks = sound[: len(sound) // 1600 * 1600].reshape(-1, 1600).astype(np.float64)
    return float(np.sqrt((blocks**2).mean(1).max(initial=0.0)))


def frames(sound: I16, rate: int = RATE) -> Iterable[AudioFrame]:
    """20 ms each, as a browser's microphone comes out of the decoder: 48 kHz would be the same."""
    size = rate // 50
    for begin in range(0, len(sound) - size + 1, size):
        frame = AudioFrame.from_ndarray(sound[begin : begin + size].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        yield frame


class FileMicrophone(MediaStreamTrack):
    """Plays (n,) int16 at 48 kHz in real time, then silence. `say` plays more."""

    kind = "audio"

    def __init__(self, sound: I16 | None = None) -> None:
        super().__init__()
        self._sound = np.zeros(0, np.int16) if sound is None else sound
        self._count = 0
        self._start: float | None = None
        self.ended_at: float | None = None  # when the last loud sample was sent

    def say(self, sound: I16) -> None:
        self._sound = np.concatenate((self._sound, sound))
        self.ended_at = None

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        if self._start is None:
            self._start = time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._count * 0.02 - time.monotonic()))
        piece, self._sound = self._sound[:960], self._sound[960:]
        if len(piece) and not len(self._sound):
            self.ended_at = time.monotonic()
        piece = np.concatenate((piece, np.zeros(960 - len(piece), np.int16)))
        frame = AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = self._count * 960
        frame.time_base = fractions.Fraction(1, 48_000)
        self._count += 1
        return frame
