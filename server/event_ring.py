"""The last events of one session, numbered, for readers that come back: a bounded ring without a queue per reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.events import Event

CAPACITY = 512
"""Events kept a session: an answer at 40 pieces of text a second and its captions, for some 10 s; EventSource comes
back after 3 s. Some 100 kB."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event with its number: 1 is the session's first, each next one is one more."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class Page:
    """What follows a number. missed: how many events in between are not kept any more. before: the number that the
    first of `events` follows.
    """

    missed: int
    before: int
    events: list[Numbered]


class EventRing:
    """Readers keep their own place (a number) and ask for what follows; a slow one loses the oldest, and is told."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._kept: deque[Numbered] = deque(maxlen=capacity)
        self._watchers: set[asyncio.Event] = set()
        self.last = 0
        self.closed = False

    def put(self, event: Event) -> None:
        self.last += 1
        self._kept.append(Numbered(self.last, event))
        self._wake()

    def close(self) -> None:
        """No more will come."""
        self.closed = True
        self._wake()

    def after(self, number: int) -> Page:
        """Everything that is kept and newer. A number that was never given (larger than the last) is of no use: it
        counts as 0.
        """
        if number > self.last:
            number = 0
        oldest = self._kept[0].id if self._kept else self.last + 1
        before = max(number, oldest - 1)
        return Page(before - number, before, [each for each in self._kept if each.id > before])

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @contextlib.contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Gives an asyncio.Event that is set at each change; the watcher clears it before it looks."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            yield changed
        finally:
            self._watchers.discard(changed)

    def _wake(self) -> None:
        for changed in self._watchers:
            changed.set()
