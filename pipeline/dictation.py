"""The words of one turn of the student's: recognised again while it grows, at a pace, and once more when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from pipeline.ear import I16
from pipeline.recognise import Recogniser, RecogniserError
from pipeline.voice_activity import RATE

log = structlog.get_logger(__name__)

FIRST_SECONDS, PACE_SECONDS = 0.9, 1.0
"""Sound before its first partial result, and between the beginnings of two, at least."""

SHARE = 0.25
"""Of the time, at most, in which a partial result is being made: the final one would have to wait for it to end."""


@dataclass(frozen=True, slots=True)
class Words:
    """What was said up to `until`. final: the turn is over, and these are its words."""

    text: str
    until: float
    final: bool


class Pace:
    """How often partial results are asked for: less often where they take longer. For all turns of a session."""

    def __init__(self) -> None:
        self._took = 0.3
        self._began = float("-inf")

    def began(self, now: float) -> None:
        self._began = now

    def ended(self, now: float) -> None:
        self._took += 0.5 * (now - self._began - self._took)

    def due(self, seconds: float, now: float) -> bool:
        """Whether one may be asked for, of so many seconds of sound."""
        pause = max(PACE_SECONDS, self._took / SHARE)
        return seconds >= max(FIRST_SECONDS, 2 * self._took) and now - self._began >= pause


@dataclass(frozen=True, slots=True)
class _Wanted:
    sound: I16
    until: float
    urgent: bool


class Dictation:
    """One request to the recogniser at a time; a newer one takes the place of one that waits.

    heard: called with each result, the final one last. failed: called instead of the final one.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        pace: Pace,
        heard: Callable[[Words], None],
        failed: Callable[[RecogniserError], None],
    ) -> None:
        self._recogniser = recogniser
        self._pace = pace
        self._heard = heard
        self._failed = failed
        self._next: _Wanted | None = None
        self._asked: _Wanted | None = None
        self._last: Words | None = None
        self._end: float | None = None  # until when the turn was spoken, once it is over
        self._task: asyncio.Task[None] | None = None

    def due(self, seconds: float) -> bool:
        """Whether a partial result may be asked for, of so many seconds of sound."""
        return self._task is None and self._pace.due(seconds, time.monotonic())

    def want(self, sound: I16, until: float, *, urgent: bool = False) -> None:
        """Have this sound recognised, unless its words are known or come already."""
        if any(each is not None and each.until >= until for each in (self._asked, self._last)):
            return
        self._next = _Wanted(sound, until, urgent)
        if self._task is None:
            self._task = asyncio.create_task(self._recognise(), name="dictation")

    def finish(self, sound: I16, until: float) -> None:
        """The turn is over; its words come by `heard`, perhaps at once."""
        self._end = until
        if self._last is not None and self._last.until >= until:
            self._heard(Words(self._last.text, self._last.until, final=True))
            return
        self.want(sound, until, urgent=True)

    def go_on(self) -> None:
        """The turn was not over after all."""
        self._end = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _recognise(self) -> None:
        try:
            while self._next is not None:
                self._asked, self._next = self._next, None
                await self._one(self._asked)
        finally:
            self._asked = None
            self._task = None

    async def _one(self, wanted: _Wanted) -> None:
        self._pace.began(time.monotonic())
        try:
            text = await self._recogniser.transcribe(wanted.sound, urgent=wanted.urgent)
        except RecogniserError as error:
            log.error("recognition_failed", reason=str(error), seconds=round(len(wanted.sound) / RATE, 1))
            if self._end is not None and self._next is None:
                self._failed(error)
            return
        self._pace.ended(time.monotonic())
        self._last = Words(text, wanted.until, final=self._end is not None and wanted.until >= self._end)
        self._asked = None
        self._heard(self._last)
