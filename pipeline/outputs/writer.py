"""A thread of its own that gives a sink its packets: a bounded queue between the event loop and whatever may block."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from av.packet import Packet
from av.stream import Stream

from pipeline.outputs.sink import Mark, Sink

log = structlog.get_logger(__name__)

QUEUE = 300
"""Packets that may wait: 4 s of picture and sound."""


@dataclass(frozen=True, slots=True)
class _Taken:
    packet: Packet[Stream]
    sound: bool


class Writer:
    """An Intake. Use on the event loop. `close` always; nothing is written before the first packet.

    ended: called on the event loop, at most once, when the sink failed; what comes afterwards is passed over.
    """

    def __init__(self, sink: Sink, name: str, ended: Callable[[Exception], None]) -> None:
        self._sink = sink
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._items: deque[_Taken | Mark] = deque()
        self._came = threading.Condition()
        self._closing = False
        self._done = asyncio.Event()
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def roomy(self) -> bool:
        return len(self._items) <= QUEUE // 2 and self.failure is None

    def put(self, packet: Packet[Stream], *, sound: bool) -> bool:
        with self._came:
            if len(self._items) >= QUEUE or self._closing or self.failure is not None:
                return False
            self._items.append(_Taken(packet, sound))
            self._came.notify()
        return True

    def mark(self, mark: Mark) -> None:
        with self._came:
            if not self._items or self._items[-1] != mark:
                self._items.append(mark)
                self._came.notify()

    async def close(self, limit: float) -> bool:
        """Write what waits, then the end. False: it takes longer than `limit` seconds; the thread is left to itself."""
        with self._came:
            self._closing = True
            self._came.notify()
        try:
            async with asyncio.timeout(limit):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, _Taken):
                    self._sink.packet(item.packet, sound=item.sound)
                else:
                    self._sink.mark(item)
        except Exception as error:  # noqa: BLE001 - any of a thread is told to its owner
            self._fail(error)
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001
            if self.failure is None:
                self._fail(error)
            else:
                log.debug("sink_close_failed", error=repr(error))
        self._tell(self._done.set)

    def _next(self) -> _Taken | Mark | None:
        with self._came:
            while not self._items:
                if self._closing:
                    return None
                self._came.wait()
            return self._items.popleft()

    def _fail(self, error: Exception) -> None:
        with self._came:
            self.failure = error
            self._items.clear()
        self._tell(lambda: self._ended(error))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has ended meanwhile: nobody waits any more
            log.debug("writer_outlived_loop")
