"""Whisper's features of an utterance while its sound arrives: what to encode, and which frames become known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.prompts import AROUND, BEFORE, LAYERS, PER_SECOND, RATE, SEGMENT, WIDTH

F32 = NDArray[np.float32]

FPS = 25
POSITION = RATE // PER_SECOND  # 320 samples at 16 kHz
FRAME = RATE // FPS  # 640: frame i covers samples [640 i, 640 i + 640)
STEP = PER_SECOND // FPS  # positions a frame
PAST = BEFORE * STEP  # positions of a frame's window that lie before it

CONTEXT = (AROUND - PAST - 1) * POSITION + 520
"""Samples from a frame's start to the end of what its features hear. The window's last position begins 5 positions
after the frame; a position is made of mel frames up to 20 ms later, and each of those reaches 12.5 ms further."""

OVERLAP = 10 * RATE
"""Sound from before that is heard again when an utterance grows past 30 s."""


def known_frames(samples: int) -> int:
    """Frames whose whole context is there after so many samples at 16 kHz."""
    return 0 if samples < CONTEXT else (samples - CONTEXT) // FRAME + 1


@dataclass(frozen=True, slots=True)
class Block:
    """Features of consecutive frames: frame `first + k` takes rows[2k : 2k + 10]."""

    first: int
    count: int
    rows: torch.Tensor  # (2 * count + 8, 5, 384)

    def window(self, frame: int) -> torch.Tensor:
        """(50, 384), token = 5 * time + layer; the positional encoding is not added."""
        start = STEP * (frame - self.first)
        return self.rows[start : start + AROUND].reshape(AROUND * LAYERS, WIDTH)


class Hearing:
    """One utterance. `feed` its sound; while `wants`, encode `sound()` and `take` what the encoder gave.

    Each call encodes from the utterance's start to now, zero-padded to 30 s, and keeps the frames that are new and
    whose whole context is there. An utterance that is known whole before the first call is cut into segments of 30 s,
    as the reference does it; one that grows past 30 s goes on from OVERLAP before its newest frame.
    """

    def __init__(self) -> None:
        self._sound: F32 = np.zeros(0, np.float32)  # from self._start on
        self._start = 0  # sample where the encoder's segment begins
        self._samples = 0
        self._last = False
        self._whole: list[torch.Tensor] | None = None  # encoded segments of an utterance known whole
        self._asked = (0, 0)  # end of the sound, and of the frames, that was given out to be encoded
        self.known = 0
        """Frames whose features were given."""

    @property
    def frames(self) -> int:
        """Frames of the sound so far, a begun one counted."""
        return math.ceil(self._samples / FRAME)

    @property
    def complete(self) -> bool:
        """No more sound comes, and all features were given."""
        return self._last and self.known >= self.frames

    def feed(self, sound: F32, last: bool = False) -> None:
        """Take the next mono sound at 16 kHz, ±1. last: no more comes."""
        if self._last:
            raise RuntimeError("this utterance is finished")
        self._sound = np.concatenate((self._sound, sound.astype(np.float32, copy=False)))
        self._samples += len(sound)
        self._last = last
        if last and self.known == 0:
            self._whole = []

    @property
    def wants(self) -> bool:
        """Whether encoding now makes more frames known."""
        if self._whole is not None:
            return not self.complete
        return self._ready(self._samples, self._last) > self.known

    def sound(self) -> F32:
        """What to encode now: at most 30 s."""
        if self._whole is not None:
            at = len(self._whole) * SEGMENT
            return self._sound[at : at + SEGMENT]
        while True:
            end = min(self._samples, self._start + SEGMENT)
            ready = self._ready(end, self._last and end == self._samples)
            if ready > self.known:
                self._asked = (end, ready)
                return self._sound[: end - self._start]
            start = max(0, self.known * FRAME - OVERLAP)
            self._sound = self._sound[start - self._start :]
            self._start = start

    def take(self, features: torch.Tensor) -> Block | None:
        """Features (1500, 5, 384) of the sound that was given last -> the new frames', None: there are none yet."""
        if self._whole is not None:
            return self._take_whole(features)
        end, ready = self._asked
        done = self._last and end == self._samples
        heard = features[: math.ceil((end - self._start) / POSITION)]
        if done:  # the reference keeps whole positions only; what is missing is zero
            heard = features[: (end - self._start) // POSITION]
        return self._block(heard, self._start // POSITION, ready)

    def _take_whole(self, features: torch.Tensor) -> Block | None:
        assert self._whole is not None
        self._whole.append(features)
        if len(self._whole) * SEGMENT < self._samples:
            return None
        heard = torch.cat(self._whole)[: self._samples // POSITION]
        self._sound, self._whole = self._sound[:0], []
        return self._block(heard, 0, self.frames)

    def _ready(self, end: int, last: bool) -> int:
        return self.frames if last else known_frames(end)

    def _block(self, heard: torch.Tensor, at: int, ready: int) -> Block:
        """heard: features from position `at` on."""
        first, count = self.known, ready - self.known
        low = first * STEP - PAST - at
        high = low + (count - 1) * STEP + AROUND
        rows = torch.zeros((high - low, LAYERS, WIDTH), dtype=heard.dtype, device=heard.device)
        start, stop = max(0, low), min(len(heard), high)
        if start < stop:
            rows[start - low : stop - low] = heard[start:stop]
        self.known = ready
        return Block(first, count, rows)
