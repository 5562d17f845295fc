"""Sound alone -> the mouth at each frame, for any voice and language: the streaming half that knows no phonemes."""

from __future__ import annotations

import numpy as np

from pipeline.lipsync.warp.speech_features import BANDS, F32, FLOOR, MELS_PER_BLOCK, Heard
from pipeline.lipsync.warp.speech_limits import soft_top
from pipeline.lipsync.warp.speech_net import AHEAD, MouthNet
from pipeline.lipsync.warp.speech_voice import VoiceTrack
from pipeline.media import MouthShape

LOOK_AHEAD = 2
"""Frames of sound that must be there after a frame before its mouth is known (80 ms)."""

_BLUR = np.exp(-0.5 * (np.arange(-8, 9) / 3.0) ** 2)  # of the band's loudness: sigma 30 ms, in mels
_BLUR = (_BLUR / _BLUR.sum()).astype(np.float32)
_MIDDLE = MELS_PER_BLOCK // 2
_REACH = len(_BLUR) // 2 - _MIDDLE  # rows before a frame's first that it needs
_KEPT = 16  # frames whose mouths are remembered

# How the network's guess and the band's loudness make the opening: about a mean mouth, since a network that is unsure
# guesses the mean. The means are those of the synthetic voices.
MEAN_OPENING, MEAN_LOUDNESS, BASE = 0.255, 0.27, 0.38
NET_GAIN, BAND_GAIN, ROUND_PART = 1.4, 0.32, 0.3
CLOSURE_FROM, CLOSURE_SPAN, CLOSURE_DEPTH = 0.24, 0.24, 0.6


class SoundTrack:
    """`feed` what the ear heard, a video frame at a time; ask for `shape` and `speaking`.

    After frame n's sound the frames up to n - LOOK_AHEAD are known, the last 16 of them.
    """

    def __init__(self, first: int = 0) -> None:
        """first: the video frame of the first sound that will be fed."""
        self._first = first
        self._frame = first  # the next to be known
        self._blocks = 0
        self._voice, self._net = VoiceTrack(), MouthNet()
        # Levelled mel rows and their band loudness, from _REACH rows before those of self._frame on.
        self._rows: F32 = np.full((_REACH - 1, BANDS), FLOOR, np.float32)
        self._loudness: F32 = np.zeros(_REACH - 1, np.float32)
        self._shapes: dict[int, MouthShape] = {}

    def feed(self, heard: Heard) -> None:
        """Take the next video frame of sound."""
        self._voice.feed(heard.sound)
        self._rows = np.concatenate((self._rows, heard.rows))
        self._loudness = np.concatenate((self._loudness, heard.loudness))
        self._blocks += 1
        if self._blocks <= LOOK_AHEAD:
            return
        self._shapes[self._frame] = self._listen()
        self._shapes.pop(self._frame - _KEPT, None)
        self._frame += 1
        self._rows, self._loudness = self._rows[MELS_PER_BLOCK:], self._loudness[MELS_PER_BLOCK:]

    def speaking(self, frame: int) -> bool:
        """Whether there is a voice at a frame, as far as it was heard."""
        return self._voice.speaking(frame - self._first)

    def shape(self, frame: int) -> MouthShape:
        """The mouth at a known frame, whether there is a voice or not."""
        return self._shapes[frame]

    def _listen(self) -> MouthShape:
        """The mouth of the frame whose rows begin at _REACH: the network's two steps, and the band's loudness."""
        guesses = [
            self._net.step(self._rows[_REACH + at + AHEAD[0] : _REACH + at + AHEAD[1]])
            for at in range(0, MELS_PER_BLOCK, 2)
        ]
        opening, width, rounding, teeth, closure = (float(v) for v in np.mean(guesses, axis=0))
        loudness = float(self._loudness[: len(_BLUR)] @ _BLUR)
        shut = min(1.0, max(0.0, (closure - CLOSURE_FROM) / CLOSURE_SPAN))
        opening = BASE + NET_GAIN * (opening - ROUND_PART * rounding - MEAN_OPENING)
        opening = soft_top(opening + BAND_GAIN * (loudness - MEAN_LOUDNESS))
        return MouthShape(
            opening=opening * (1.0 - CLOSURE_DEPTH * shut),
            width=min(1.0, max(-1.0, width)),
            rounding=min(1.0, max(0.0, rounding)),
            teeth=min(1.0, max(0.0, teeth)),
            closure=shut,
        )
