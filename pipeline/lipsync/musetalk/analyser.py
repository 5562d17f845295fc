"""The analyser of one utterance: hands its sound to the device, and tells which frames can be drawn and which speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.audio.frame import AudioFrame

from pipeline.lipsync.engine import SpeechAnalyser
from pipeline.lipsync.musetalk.renderer import Utterance
from pipeline.media import CLOSED, SAMPLE_RATE, SAMPLES_PER_FRAME, MouthShape, SpeechChunk

RATE = 16_000
CONTEXT = 3 * (5 * 320 + 520)
"""Samples at 48 kHz from a frame's start that its features hear (see listening.CONTEXT, which needs torch)."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """The mouth of frame `index` of an utterance; `shape` is the same for warp. utterance None: warp draws it."""

    utterance: Utterance | None
    index: int
    shape: MouthShape


class MuseTalkAnalyser:
    """Implements SpeechAnalyser for `Spoken`. Nothing waits for the device: it encodes the sound while the mouths are
    on their way, and draws them when it has.

    The warp engine's analyser runs beside it: it tells where a voice is, and its mouths are at hand if the device fails
    in mid-utterance.
    """

    def __init__(self, warp: SpeechAnalyser, utterance: Utterance | None) -> None:
        self._warp = warp
        self._utterance = utterance
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        self._shapes: list[MouthShape | None] = []  # known to warp, not given out yet
        self._samples = 0
        self._given = 0
        self._voice = False  # a voice was there since the last pause
        self._finished = False

    def feed(self, chunk: SpeechChunk) -> Sequence[Spoken | None]:
        self._shapes.extend(self._warp.feed(chunk))
        self._samples += len(chunk.pcm)
        if self._utterance is not None and len(chunk.pcm):
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(chunk.pcm).reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            self._hear(self._resampler.resample(frame), last=False)
        return self._known()

    def finish(self) -> Sequence[Spoken | None]:
        if self._finished:
            return []
        self._finished = True
        self._shapes.extend(self._warp.finish())
        if self._utterance is not None:
            self._hear(self._resampler.resample(None), last=True)
        return self._known()

    def _hear(self, frames: list[AudioFrame], *, last: bool) -> None:
        assert self._utterance is not None
        sound = [frame.to_ndarray()[0] for frame in frames]
        if sound or last:
            self._utterance.feed(np.concatenate(sound) if sound else np.zeros(0, np.float32), last)

    def _known(self) -> list[Spoken | None]:
        """Warp knows a mouth 80 ms after its frame, here it takes 92.5 ms of sound: both are waited for."""
        ready = len(self._shapes)
        if self._utterance is not None and not self._finished:
            heard = (self._samples - CONTEXT) // SAMPLES_PER_FRAME + 1
            ready = min(ready, max(0, heard - self._given))
        shapes, self._shapes = self._shapes[:ready], self._shapes[ready:]
        return [self._mouth(shape) for shape in shapes]

    def _mouth(self, shape: MouthShape | None) -> Spoken | None:
        """None from the moment where warp's mouth has closed after a voice: the model would open it in silence, so the
        playout fades back to the avatar's own. Just before a voice the mouth is given, so that it is there with it."""
        index = self._given
        self._given += 1
        if shape is None:
            self._voice = False
            return None
        if shape is CLOSED and self._voice:
            return None
        self._voice = self._voice or shape is not CLOSED
        return Spoken(self._utterance, index, shape)
