"""When the process ends: what the signals ask for, and how long the sessions that run are waited for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog

from server.drain import Drain

log = structlog.get_logger(__name__)


class Ending:
    """SIGTERM drains and ends; so does Ctrl+C, unless nobody is connected. A second one of either ends at once."""

    def __init__(
        self, drain: Drain, *, seconds: Callable[[], float], connected: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        """seconds: how long to drain. connected: sessions that somebody is in. say: to who sits at the terminal."""
        self._drain = drain
        self._seconds = seconds
        self._connected = connected
        self._say = say
        self._asked = asyncio.Event()
        self._now = asyncio.Event()

    @property
    def asked(self) -> asyncio.Event:
        """Set with the first signal."""
        return self._asked

    def signalled(self, number: signal.Signals) -> None:
        """A signal came; on the event loop."""
        seconds, connected = self._seconds(), self._connected()
        log.info("told_to_stop", signal=number.name, connected=connected)
        if self._asked.is_set() or seconds <= 0 or (number is signal.SIGINT and not connected):
            self._now.set()
        else:
            self._drain.start(seconds, stopping=True)
            if number is signal.SIGINT:
                count = "1 conversation goes" if connected == 1 else f"{connected} conversations go"
                self._say(f"{count} on; stopping when none does, in {seconds:.0f} s at the latest. Ctrl+C again: now.")
        self._asked.set()

    async def wait(self) -> None:
        """Returns when the server is to be closed."""
        await self._asked.wait()
        now = asyncio.create_task(self._now.wait(), name="end-now")
        over = asyncio.create_task(self._drain.over(), name="drained")
        try:
            await asyncio.wait({now, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (now, over):
                task.cancel()
            await asyncio.gather(now, over, return_exceptions=True)


def listen_for_signals(loop: asyncio.AbstractEventLoop, ending: Ending, reload: Callable[[], None]) -> None:
    """SIGINT and SIGTERM end, SIGHUP reads settings and keys again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.signalled, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
