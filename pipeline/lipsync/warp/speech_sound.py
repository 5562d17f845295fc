"""Sound alone -> the mouth at each frame, for any voice and language: the streaming half that knows no phonemes."""

from __future__ import annotations

import numpy as np

from pipeline.lipsync.warp.speech_features import BANDS, F32, MELS_PER_BLOCK, Level, Mels, Resampler, band_loudness
from pipeline.lipsync.warp.speech_voice import VoiceTrack
from pipeline.media import MouthShape, Pcm

LOOK_AHEAD = 2
"""Frames of sound that must be there after a frame before its mouth is known (80 ms)."""

_SPREAD = np.arange(-8, 9)
_BLUR = np.exp(-0.5 * (_SPREAD / 3.0) ** 2).astype(np.float32)  # sigma 30 ms


class SoundTrack:
    """`feed` video frames' worth of sound, one block (1920 samples at 48 kHz) at a time; ask for `shape`, `speaking`.

    After block n, frames up to n - LOOK_AHEAD are known. Blocks make the result the same however the sound was cut.
    """

    def __init__(self, first: int = 0) -> None:
        """first: the video frame of the first block that will be fed."""
        self._first = first
        self._resample, self._mels, self._level, self._voice = Resampler(), Mels(), Level(), VoiceTrack()
        self._heard: F32 = np.zeros((0, BANDS), np.float32)

    def feed(self, block: Pcm) -> None:
        sound = self._resample(block)
        self._voice.feed(sound)
        self._heard = np.concatenate((self._heard, self._level(self._mels(sound))))

    def speaking(self, frame: int) -> bool:
        return self._voice.speaking(frame - self._first)

    def shape(self, frame: int) -> MouthShape:
        middle = (frame - self._first) * MELS_PER_BLOCK + MELS_PER_BLOCK // 2
        rows = np.clip(middle + _SPREAD, 0, len(self._heard) - 1)
        loudness = band_loudness(self._heard[rows])
        value = float(loudness @ _BLUR / _BLUR.sum())
        return MouthShape(opening=min(1.0, 0.85 * value), teeth=0.3 * min(1.0, value))
