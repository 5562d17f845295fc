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

FIRST_SECONDS, PACE_SECONDS = 0.7, 1.0
"""Sound before its first partial result, and between the beginnings of two."""

REST = 1.5
"""Times what the last result took, until the next partial one: a slow machine gives fewer."""


@dataclass(frozen=True, slots=True)
class Words:
    """What was said up to `until`. final: the turn is over, and these are its words."""

    text: str
    until: float
    final: bool


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
        self, recogniser: Recogniser, heard: Callable[[Words], None], failed: Callable[[RecogniserError], None]
    ) -> None:
        self._recogniser = recogniser
        self._heard = heard
        self._failed = failed
        self._next: _Wanted | None = None
        self._asked: _Wanted | None = None
        self._last: Words | None = None
        self._end: float | None = None  # until when the turn was spoken, once it is over
        self._began = float("-inf")  # the last request
        self._rest_until = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def due(self, seconds: float) -> bool:
        """Whether a partial result may be asked for, of so many seconds of sound."""
        now = time.monotonic()
        busy = self._task is not None
        return not busy and seconds >= FIRST_SECONDS and now >= max(self._began + PACE_SECONDS, self._rest_until)

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
        self._began = time.monotonic()
        try:
            text = await self._recogniser.transcribe(wanted.sound, urgent=wanted.urgent)
        except RecogniserError as error:
            log.error("recognition_failed", reason=str(error), seconds=round(len(wanted.sound) / RATE, 1))
            if self._end is not None and self._next is None:
                self._failed(error)
            return
        took = time.monotonic() - self._began
        self._rest_until = self._began + took + (REST - 1) * took
        self._last = Words(text, wanted.until, final=self._end is not None and wanted.until >= self._end)
        self._asked = None
        self._heard(self._last)
