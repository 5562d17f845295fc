"""Time in which a machine that stands still for a while, as a busy one may, does not count."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType

STEP = 0.02


class LoopTime:
    """`async with LoopTime() as took: …`, then took.seconds of the event loop: a step that came late counts as one."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __aenter__(self) -> LoopTime:
        self._task = asyncio.create_task(self._count(), name="loop-time")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(STEP)
            self.seconds += STEP


class SteadyClock:
    """In the place of `time.monotonic`, by which asyncio goes as well: a machine that stands still stops it, too.

    For what lives in real time and looks at the clock more often than every MOST seconds, as a live session does.
    """

    MOST = 0.1

    def __init__(self) -> None:
        self._clock = time.monotonic
        self._lock = threading.Lock()
        self._seen = self._now = self._clock()

    def __call__(self) -> float:
        with self._lock:
            seen = self._clock()
            self._now += min(seen - self._seen, self.MOST)
            self._seen = seen
            return self._now
