"""How busy the event loop is: one thread sends all sessions' sound and pictures, and is full long before many cores."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable


class MeteredSelector(selectors.DefaultSelector):
    """Adds up the seconds for which the loop had nothing to do. 0.2 µs a turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        began = time.perf_counter()
        try:
            return super().select(timeout)
        finally:
            self.idle += time.perf_counter() - began


class LoopMeter:
    """Its share of the time since it was read last, in percent. clock: time.perf_counter, but for tests."""

    def __init__(self, selector: MeteredSelector, clock: Callable[[], float] = time.perf_counter) -> None:
        self._selector = selector
        self._clock = clock
        self._read = (clock(), selector.idle)

    def busy(self) -> float:
        """0..100: what was not waiting for something to do."""
        now, idle = self._clock(), self._selector.idle
        since, before = self._read
        self._read = (now, idle)
        if now <= since:
            return 0.0
        return 100.0 * min(1.0, max(0.0, 1.0 - (idle - before) / (now - since)))


class MeteredLoop(asyncio.SelectorEventLoop):
    """asyncio's own, with `meter`."""

    def __init__(self) -> None:
        selector = MeteredSelector()
        super().__init__(selector)
        self.meter = LoopMeter(selector)


def meter() -> LoopMeter | None:
    """Of the loop that runs; None: it has none (another loop than the server's own)."""
    loop = asyncio.get_running_loop()
    return loop.meter if isinstance(loop, MeteredLoop) else None
