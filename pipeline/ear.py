"""One microphone's sound: to 16 kHz, without the tutor's own voice, and when the student speaks in it.

No event loop: it runs in a worker thread, one call at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray
from scipy.signal import resample_poly

from pipeline.echo import EchoGuard
from pipeline.lipsync.warp.speech_voice import CHUNK
from pipeline.media import SAMPLE_RATE, Pcm
from pipeline.voice_activity import CHUNK_SECONDS, F32, OFF, RATE, Began, Decision, SileroVoice, VoiceActivity

I16 = NDArray[np.int16]

BEFORE_SECONDS = 0.3
"""Sound kept from before the voice began: its first consonant may be no voice yet."""

JUMP_SECONDS = 0.2
"""Sound that comes so much later than its samples say was held up: its time jumps."""

_PULL = 0.02  # of the difference between the two, each chunk: sound cards' clocks drift


class Voice(Protocol):
    """What finds voice; voice_activity.SileroVoice is the real one."""

    def chance(self, chunk: F32) -> float: ...


@dataclass(frozen=True, slots=True)
class Heard:
    """A decision, and when: seconds of the clock that `feed` is given. sound: of the turn so far, with a little from
    before: (n,) at 16 kHz; None where it has only begun.
    """

    decision: Decision
    at: float
    sound: I16 | None = None


class Ear:
    """From frames of any rate and layout to decisions, and the sound they are about."""

    def __init__(self, echo: EchoGuard, voice: Voice | None = None) -> None:
        self._echo = echo
        self._voice = voice or SileroVoice()
        self.activity = VoiceActivity()
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        self._kind: tuple[object, ...] | None = None
        self._rest: I16 = np.zeros(0, np.int16)
        self._kept: deque[I16] = deque()  # of the turn, else of the last BEFORE_SECONDS
        self._at: float | None = None  # end of the last chunk

    def feed(self, frames: Sequence[AudioFrame], now: float, *, over: bool) -> list[Heard]:
        """The next frames, the last of which has just come. over: the tutor is speaking."""
        for frame in frames:
            self._resample(frame)
        return self._listen(now, over)

    def silence(self, seconds: float, now: float, *, over: bool) -> list[Heard]:
        """Nothing came for so long: the microphone is off, or its network is."""
        self._rest = np.concatenate((self._rest, np.zeros(round(seconds * RATE), np.int16)))
        return self._listen(now, over)

    @property
    def until(self) -> float:
        """When the newest sound ended."""
        return self._at if self._at is not None else 0.0

    @property
    def seconds(self) -> float:
        """How much `sound` is."""
        return len(self._kept) * CHUNK_SECONDS

    def sound(self) -> I16:
        """Of the turn so far, from a little before its beginning: (n,) at 16 kHz."""
        return np.concatenate(tuple(self._kept)) if self._kept else np.zeros(0, np.int16)

    # -- inside -------------------------------------------------------------------------------------------------

    def _resample(self, frame: AudioFrame) -> None:
        kind = (frame.sample_rate, frame.format.name, frame.layout.name)
        if kind != self._kind:
            self._kind, self._resampler = kind, av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frame.pts = None
        pieces = [piece.to_ndarray().reshape(-1) for piece in self._resampler.resample(frame)]
        self._rest = np.concatenate((self._rest, *pieces))

    def _listen(self, now: float, over: bool) -> list[Heard]:
        heard: list[Heard] = []
        while len(self._rest) >= CHUNK:
            chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
            self._at = self._time(now - len(self._rest) / RATE)
            heard += self._hear(chunk, self._at, over)
        return heard

    def _time(self, came: float) -> float:
        """The time of a chunk's end, which never falls: by counting samples, held to when they come."""
        if self._at is None:
            return came
        counted = self._at + CHUNK_SECONDS
        if abs(came - counted) <= JUMP_SECONDS:
            return counted + _PULL * (came - counted)
        return max(self._at, came)

    def _hear(self, chunk: I16, at: float, over: bool) -> list[Heard]:
        sound = chunk.astype(np.float32) / np.float32(32768)
        chance = self._voice.chance(sound)
        self._echo.hear(sound)
        if chance >= OFF and self._echo.is_echo(at):
            chance = 0.0
        self._kept.append(chunk)
        heard = [
            Heard(each, at, None if isinstance(each, Began) else self.sound())
            for each in self.activity.hear(at, chance, over=over or self._echo.spoke(at))
        ]
        if not self.activity.speaking:
            begun = self.activity.since
            keep = BEFORE_SECONDS + (0.0 if begun is None else at - begun)
            while (len(self._kept) - 1) * CHUNK_SECONDS > keep:
                self._kept.popleft()
        return heard


def to_ear(pieces: Sequence[Pcm]) -> I16:
    """A whole sound at 48 kHz, in pieces, as one at 16 kHz."""
    whole = np.concatenate(tuple(pieces)).astype(np.float32)
    return np.asarray(np.clip(resample_poly(whole, 1, SAMPLE_RATE // RATE), -32768, 32767), np.int16)
