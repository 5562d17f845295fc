"""A viewer's data channel: text messages in both directions, bounded in size, number and rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, Protocol

import structlog
from aiortc import RTCDataChannel

from server.rtc.offer import MAX_MESSAGE

log = structlog.get_logger(__name__)

MAX_WAITING = 32  # messages that came in and are not handled yet
MAX_UNSENT = 256 * 1024  # bytes that the viewer has not taken yet; then its connection ends
BURST = 60  # messages at once
A_SECOND = 20.0  # messages, in the long run

Refusal = Literal["too_large", "too_many", "not_text"]


class ChannelSink(Protocol):
    """Who talks to the viewer."""

    async def received(self, text: str) -> None:
        """The next message; the one after it waits until this has returned."""

    def refused(self, why: Refusal) -> None:
        """A message was dropped, too_many: and perhaps more since then. Must not block."""

    def closed(self, reason: str) -> None:
        """The connection goes; what is put into the channel here may still arrive. Must not block."""


class Allowance:
    """A token bucket: pure, `now` in monotonic seconds."""

    def __init__(self, burst: int, a_second: float) -> None:
        self._burst = burst
        self._a_second = a_second
        self._left = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more is allowed."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class DataChannel:
    """One channel that the viewer has opened, from then until the connection's end.

    open_sink: gives who talks. end: ends the viewer's connection, with a reason.
    """

    def __init__(
        self,
        channel: RTCDataChannel,
        open_sink: Callable[[DataChannel], ChannelSink],
        end: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._allowance = Allowance(BURST, A_SECOND)
        self._over = False
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self.end = end
        self._sink = open_sink(self)
        channel.on("message", self._arrived)
        self._task = asyncio.create_task(self._handle(), name="data-channel")

    def send(self, text: str) -> None:
        """Without waiting. A viewer that does not take what it is sent loses its connection."""
        if self._channel.readyState != "open":
            return
        if self._channel.bufferedAmount > MAX_UNSENT:
            self.end("slow")
            return
        try:
            self._channel.send(text)
        except ValueError:  # larger than the viewer said that it takes
            self.end("takes_too_little")

    async def close(self, reason: str) -> None:
        self._sink.closed(reason)
        self._task.cancel()
        await asyncio.wait({self._task})

    def _arrived(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._sink.refused("not_text")
        elif len(message) > MAX_MESSAGE or len(message.encode(errors="surrogatepass")) > MAX_MESSAGE:
            self._sink.refused("too_large")
        elif not self._allowance.take(self._clock()) or self._waiting.full():
            if not self._over:  # told once, or the telling would be a flood, too
                self._sink.refused("too_many")
            self._over = True
        else:
            self._over = False
            self._waiting.put_nowait(message)

    async def _handle(self) -> None:
        while True:
            message = await self._waiting.get()
            try:
                await self._sink.received(message)
            except Exception:
                log.exception("data_message_failed")
