"""One utterance on its way to the viewers: its sound, mouths and words, and how much of them was sent."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.lipsync.engine import Mouth
from pipeline.media import FRAME_SECONDS, SAMPLE_RATE, SAMPLES_PER_FRAME, Pcm, WordMark
from pipeline.voices.words import joined


class SoundQueue:
    """Samples in order of arrival; whole video frames come out at the other end."""

    def __init__(self) -> None:
        self._chunks: deque[Pcm] = deque()
        self._samples = 0
        self.received = 0  # samples, ever

    def __len__(self) -> int:
        return self._samples

    def put(self, pcm: Pcm) -> None:
        if len(pcm):
            self._chunks.append(pcm)
            self._samples += len(pcm)
            self.received += len(pcm)

    def take_frame(self) -> Pcm:
        """The next 1920 samples; what is missing at the end is silence."""
        out = np.zeros(SAMPLES_PER_FRAME, np.int16)
        filled = 0
        while filled < SAMPLES_PER_FRAME and self._chunks:
            chunk = self._chunks[0]
            part = chunk[: SAMPLES_PER_FRAME - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) == len(chunk):
                self._chunks.popleft()
            else:
                self._chunks[0] = chunk[len(part) :]
        self._samples -= filled
        return out


@dataclass(slots=True, eq=False)
class Utterance:
    """`start`: the timeline's position of its frame 0, once that is planned. `sent`: its frames that were sent.

    voiceless mouths are None; `mouthless`: no more mouths come, its engine gave up.
    """

    id: str
    text: str
    generation: int
    sound: SoundQueue = field(default_factory=SoundQueue)
    mouths: list[Mouth | None] = field(default_factory=list)
    words: list[WordMark] = field(default_factory=list)
    start: int | None = None
    delayed: bool = False  # its start was put off, because its first mouths were not ready
    begun: bool = False
    sent: int = 0
    captioned: int = 0
    ended: bool = False
    failed: bool = False
    mouthless: bool = False
    starving: bool = False
    first_sound: float | None = None  # monotonic seconds

    @property
    def frames(self) -> int:
        """Video frames its sound fills so far; while it goes on, whole ones only."""
        if self.ended:
            return -(-self.sound.received // SAMPLES_PER_FRAME)
        return self.sound.received // SAMPLES_PER_FRAME

    @property
    def position(self) -> float:
        """Seconds of it that were sent."""
        return min(self.sent * FRAME_SECONDS, self.sound.received / SAMPLE_RATE)

    @property
    def done(self) -> bool:
        return self.ended and self.sent >= self.frames

    def mouth_known(self, k: int) -> bool:
        return self.mouthless or k < len(self.mouths)

    def mouth(self, k: int) -> Mouth | None:
        return self.mouths[k] if k < len(self.mouths) else None

    def due_words(self) -> list[tuple[int, WordMark]]:
        """The words that began in what was sent, each once, with their number; at the end all that are left."""
        position = math.inf if self.done else self.sent * FRAME_SECONDS
        out = []
        while self.captioned < len(self.words) and self.words[self.captioned].start < position:
            out.append((self.captioned, self.words[self.captioned]))
            self.captioned += 1
        return out

    def add_words(self, words: Iterable[WordMark]) -> None:
        self.words.extend(words)

    def heard(self, finished: bool) -> str:
        """The words that were heard: of a word that was cut off, at least half."""
        if finished:
            return joined(word.text for word in self.words) if self.words else self.text
        return joined(word.text for word in _heard(self.words, self.position))


def _heard(words: Sequence[WordMark], position: float) -> list[WordMark]:
    return [word for word in words if (word.start + word.end) / 2 <= position + 1e-9 and word.start < position]
