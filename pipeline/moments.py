"""The moments of an utterance's way that no event tells: who makes them happen says so, with their time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Moment = Literal["typed", "spoken", "words", "said", "played", "sentence", "voice", "mouth", "interrupt", "silent"]
"""typed: the question was. spoken: the student's speech ended. words: what the student said is known. said, played: a
text, or a recording, was queued. sentence: the first one is whole. voice: its first sound was made. mouth: the first
picture with a mouth of it left. Of no utterance: interrupt, when the voice began that interrupts now; silent, when the
last sound that was sent ended.
"""

Mark = Callable[[str, Moment, float], None]
"""Takes an utterance's id ("": of none), the moment, and when it was (time.monotonic()); must not block."""


def unmarked(utterance_id: str, moment: Moment, at: float) -> None:
    """Nobody wants to know."""
