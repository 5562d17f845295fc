"""Honest fakes around a live session: an avatar in memory, a face that paints the mouth, a speaker that plays tones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from avatars.avatar import Avatar, Faces, planes
from pipeline.events import Problem
from pipeline.lipsync.engine import Mouth
from pipeline.media import SAMPLE_RATE, SAMPLES_PER_FRAME, MouthPatch, Pcm, SpeechChunk, WordMark
from pipeline.voices.voice import VoiceError

WORD_SECONDS = 0.24  # 6 frames
TONE_HZ = 400.0
PATCH = (0.25, 0.5, 0.5, 0.375)  # x, y, width, height of the painted mouth, shares of the picture
SILENT_LUMA, LOUD_LUMA = 40, 235


def make_avatar(width: int = 320, height: int = 180, count: int = 30, *, path: Path = Path("fake")) -> Avatar:
    """A dim gradient (luma below 100) that moves by 2 pixels a frame."""
    across = np.arange(width, dtype=np.uint16)[None, :]
    down = np.arange(height, dtype=np.uint16)[:, None]
    frames = np.empty((count, width * height * 3 // 2), np.uint8)
    for n in range(count):
        y, u, v = planes(frames[n], width, height)
        y[:] = 20 + (across + down + 2 * n) % 80
        u[:], v[:] = 118, 138
    frames.flags.writeable = False
    mouth = np.tile(np.array(patch_box(width, height), np.int32), (count, 1))
    box = np.tile(np.array((width * 0.25, height * 0.1, width * 0.75, height * 0.95), np.float32), (count, 1))
    faces = Faces(np.zeros((count, 468, 3), np.float32), box, mouth)
    return Avatar("fake", path, width, height, frames, faces)


def patch_box(width: int, height: int) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of the mouth that FakeFace paints; even numbers."""
    x, y = round(PATCH[0] * width / 2) * 2, round(PATCH[1] * height / 2) * 2
    return x, y, x + round(PATCH[2] * width / 2) * 2, y + round(PATCH[3] * height / 2) * 2


class LoudnessAnalyser:
    """A mouth is the loudness (0..1) of its frame's own sound, None where it is silent. No look-ahead."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)

    def feed(self, chunk: SpeechChunk) -> list[float | None]:
        sound = np.concatenate([self._rest, chunk.pcm])
        whole = len(sound) // SAMPLES_PER_FRAME
        self._rest = sound[whole * SAMPLES_PER_FRAME :]
        return [_loudness(part) for part in np.split(sound[: whole * SAMPLES_PER_FRAME], whole)] if whole else []

    def finish(self) -> list[float | None]:
        rest, self._rest = self._rest, np.zeros(0, np.int16)
        return [_loudness(rest)] if len(rest) else []


def _loudness(pcm: Pcm) -> float | None:
    peak = float(np.abs(pcm.astype(np.int32)).max()) / 16384
    return min(1.0, peak) if peak > 0.01 else None


class FakeFace:
    """Paints the mouth region with a luma that tells the mouth: SILENT_LUMA for 0, LOUD_LUMA for 1.

    presence is not blended (a faded mouth is painted whole), so that a test reads the mouth itself.
    seconds: how long a rendering takes. fail: every rendering raises. idle_mouth: shown on every idle frame.
    """

    def __init__(
        self, avatar: Avatar, *, seconds: float = 0.0, fail: bool = False, idle_mouth: float | None = None
    ) -> None:
        self.avatar = avatar
        self.seconds = seconds
        self.fail = fail
        self.idle_mouth = idle_mouth
        self.submitted: list[tuple[int, Mouth, float, float]] = []
        self.analysers: list[LoudnessAnalyser] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fake-face")

    def analyser(self) -> LoudnessAnalyser:
        self.analysers.append(LoudnessAnalyser())
        return self.analysers[-1]

    def idle(self, frame: int) -> float | None:
        assert 0 <= frame < self.avatar.count
        return self.idle_mouth

    def submit(self, frame: int, mouth: Mouth, presence: float, deadline: float) -> Future[MouthPatch | None]:
        assert 0 <= frame < self.avatar.count
        assert 0 < presence <= 1
        self.submitted.append((frame, mouth, presence, deadline))
        return self._pool.submit(self._paint, mouth)

    def _paint(self, mouth: float) -> MouthPatch:
        if self.fail:
            raise RuntimeError("the fake engine is broken")
        if self.seconds:
            _sleep(self.seconds)
        x0, y0, x1, y1 = patch_box(self.avatar.width, self.avatar.height)
        luma = round(SILENT_LUMA + (LOUD_LUMA - SILENT_LUMA) * mouth)
        half = ((y1 - y0) // 2, (x1 - x0) // 2)
        grey = np.full(half, 128, np.uint8)
        return MouthPatch(x0, y0, np.full((y1 - y0, x1 - x0), luma, np.uint8), grey, grey)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)


def tone(seconds: float, hertz: float = TONE_HZ, amplitude: float = 0.5) -> Pcm:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * 32767 * np.sin(2 * math.pi * hertz * t)).astype(np.int16)


def spoken(text: str, word_seconds: float = WORD_SECONDS) -> tuple[Pcm, tuple[WordMark, ...]]:
    """Each word is a tone for two thirds of its time, then silence."""
    words = text.split()
    loud = tone(word_seconds * 2 / 3)
    quiet = np.zeros(round(word_seconds * SAMPLE_RATE) - len(loud), np.int16)
    pcm = np.concatenate([np.concatenate([loud, quiet]) for _ in words]) if words else np.zeros(0, np.int16)
    marks = tuple(WordMark(word, i * word_seconds, (i + 1) * word_seconds) for i, word in enumerate(words))
    return pcm, marks


class FakeSpeaker:
    """Speaks as `spoken` does, in chunks.

    delay: seconds before the first chunk. gap: seconds before each further chunk. fail_after: chunks after which it
    raises VoiceError. open: speeches under way now; closed: speeches that ended or were closed.
    """

    def __init__(
        self, *, delay: float = 0.0, gap: float = 0.0, chunk_seconds: float = 0.4, fail_after: int | None = None
    ) -> None:
        self.delay = delay
        self.gap = gap
        self.chunk_seconds = chunk_seconds
        self.fail_after = fail_after
        self.asked: list[tuple[str, str | None]] = []
        self.open = 0
        self.closed = 0
        self.chunks = 0

    async def speak(
        self,
        text: str,
        *,
        voice: str | None = None,
        on_problem: Callable[[Problem], None],
        utterance_id: str | None = None,
        on_sentence: Callable[[], None] | None = None,
    ) -> AsyncIterator[SpeechChunk]:
        self.asked.append((text, voice))
        self.open += 1
        if on_sentence is not None:
            on_sentence()
        try:
            await asyncio.sleep(self.delay)
            pcm, words = spoken(text)
            for number, chunk in enumerate(chunked(pcm, words, self.chunk_seconds)):
                if self.fail_after is not None and number >= self.fail_after:
                    raise VoiceError("voice_failed", "The fake voice broke down.")
                if number:
                    await asyncio.sleep(self.gap)
                self.chunks += 1
                yield chunk
        finally:
            self.open -= 1
            self.closed += 1


def chunked(pcm: Pcm, words: Sequence[WordMark], seconds: float) -> list[SpeechChunk]:
    """Cut up, the marks with the sound in which they begin."""
    size = round(seconds * SAMPLE_RATE)
    out = []
    for start in range(0, len(pcm), size):
        begin, end = start / SAMPLE_RATE, (start + size) / SAMPLE_RATE
        out.append(SpeechChunk(pcm[start : start + size], tuple(w for w in words if begin <= w.start < end)))
    return out
