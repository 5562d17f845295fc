"""When the student speaks: Silero's chances, chunk by chunk, become a beginning, pauses and an end.

Pure, but for `SileroVoice` at the end: time comes in, decisions go out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.warp.speech_voice import CHUNK, detector
from pipeline.turns import GUARD_SECONDS

F32 = NDArray[np.float32]

RATE = 16_000
CHUNK_SECONDS = CHUNK / RATE

ON, OFF = 0.5, 0.35
"""Chance at which a chunk is voice, and below which it is not any more."""

ONSET_SECONDS = 0.064
"""Voice that is shorter is a click, not speech; while the tutor speaks it is turns.GUARD_SECONDS."""

GAP_SECONDS = 0.16
"""Silence within a word or two, before they count as speech; afterwards a pause."""

SOONEST, USUAL, LATEST = 0.3, 0.8, 1.2
"""Seconds of silence that end a turn: after a finished sentence, where the words are not known yet, in mid-sentence."""

MOST_SECONDS = 60.0
"""A turn is ended there: this is a lot of speech, or a radio."""

_FINISHED = re.compile(r"[.!?。！？][\"'”’)\]]*$")
_TRAILING = re.compile(r"(\.\.\.|…)$")
_OPEN = re.compile(
    r"\b(a|an|and|as|at|because|but|by|for|from|i|if|in|is|like|of|or|so|the|then|to|um|uh|er|hmm|when|where|which|"
    r"while|who|with|would|your|my|we|they|he|she)\W*$",
    re.IGNORECASE,
)
"""Words after which a sentence goes on, whatever full stop a recogniser sets."""


@dataclass(frozen=True, slots=True)
class Began:
    """The student speaks, since then."""

    since: float


@dataclass(frozen=True, slots=True)
class Paused:
    """Silence since then. It may be the end: the words up to here are worth knowing now."""

    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over; it was spoken until then."""

    until: float


Decision = Began | Paused | Ended


def patience(text: str) -> float:
    """Seconds of silence that end a turn whose words are these so far; "" where they are not known."""
    text = text.strip()
    if not text:
        return USUAL
    unfinished = not _FINISHED.search(text) or _TRAILING.search(text) or _OPEN.search(text)
    return LATEST if unfinished else SOONEST


class VoiceActivity:
    """One microphone's stream. Times: seconds of any clock, never falling."""

    def __init__(self) -> None:
        self._voiced = False  # the last chunk was
        self._since: float | None = None
        self._last = 0.0  # end of the last voiced chunk
        self._amount = 0.0  # seconds of voice since it began, until it counts as speech
        self._speaking = False
        self._paused = False
        self._patience = USUAL

    @property
    def speaking(self) -> bool:
        """From Began to Ended, pauses included."""
        return self._speaking

    @property
    def since(self) -> float | None:
        """When the voice began that is heard, or may become speech."""
        return self._since

    def hear(self, now: float, chance: float, *, over: bool) -> list[Decision]:
        """The next chunk, which ended at `now`. chance: 0..1, that it holds a voice. over: the tutor is speaking."""
        self._voiced = chance >= (OFF if self._voiced else ON)
        if self._speaking:
            return self._follow(now)
        if not self._voiced:
            if self._since is not None and now - self._last > GAP_SECONDS:
                self._since = None
            return []
        if self._since is None:
            self._since, self._amount = now - CHUNK_SECONDS, 0.0
        self._last = now
        self._amount += CHUNK_SECONDS
        if self._amount < (GUARD_SECONDS if over else ONSET_SECONDS) - 1e-6:
            return []
        self._speaking, self._paused, self._patience = True, False, USUAL
        return [Began(self._since)]

    def understood(self, text: str, until: float) -> None:
        """The words so far, of the sound up to `until`: they tell how soon silence is an end."""
        if self._speaking and until >= self._last - 1e-6:
            self._patience = patience(text)

    def _follow(self, now: float) -> list[Decision]:
        assert self._since is not None
        if now - self._since >= MOST_SECONDS:
            return self._end()
        if self._voiced:
            self._last, self._paused, self._patience = now, False, USUAL
            return []
        silence = now - self._last
        decisions: list[Decision] = []
        if not self._paused and silence >= GAP_SECONDS:
            self._paused = True
            decisions.append(Paused(self._last))
        if silence >= self._patience - 1e-6:
            decisions += self._end()
        return decisions

    def _end(self) -> list[Decision]:
        self._since, self._speaking = None, False
        return [Ended(self._last)]


class SileroVoice:
    """Silero's network on one stream of sound; one thread at a time. 0.15 ms a chunk."""

    _CONTEXT = 64

    def __init__(self) -> None:
        self._network = detector()
        self._state: NDArray[np.float32] = np.zeros((2, 1, 128), np.float32)
        self._context: F32 = np.zeros((1, self._CONTEXT), np.float32)
        self._rate = np.array(RATE, np.int64)

    def chance(self, chunk: F32) -> float:
        """Of a voice in the next (512,) samples at 16 kHz, ±1."""
        heard = np.concatenate((self._context, chunk[None]), axis=1)
        self._context = heard[:, -self._CONTEXT :]
        answer, self._state = self._network.run(None, {"input": heard, "state": self._state, "sr": self._rate})
        return float(answer[0, 0])
