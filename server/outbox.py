"""What goes out on one WebSocket: a bounded queue and the task that empties it; who reads too slowly is dropped."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog
from aiohttp import WSCloseCode, web

log = structlog.get_logger(__name__)

SLOW_CLIENT = 4008  # close code: this client does not read what is sent to it
CAPACITY = 256  # messages
SEND_SECONDS = 5.0
CLOSE_SECONDS = 1.0


class Outbox:
    """Takes messages without waiting. When it is full, or a send takes too long, the socket is closed: SLOW_CLIENT;
    when a message cannot be written, INTERNAL_ERROR.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self._transport = transport
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(CAPACITY)
        self._overflow = asyncio.Event()
        self._closed = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="outbox")

    def put(self, message: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._overflow.set()

    async def drain(self, seconds: float) -> None:
        """Wait until everything that was put is sent, but not longer than that."""
        joined = asyncio.ensure_future(self._queue.join())
        try:
            await asyncio.wait({joined, self._task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()

    async def close(self) -> None:
        """Stop sending; what is still queued is dropped."""
        self._closed.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        sending = asyncio.create_task(self._send_all(), name="outbox-send")
        overflow = asyncio.create_task(self._overflow.wait(), name="outbox-overflow")
        closed = asyncio.create_task(self._closed.wait(), name="outbox-closed")
        try:
            await asyncio.wait((sending, overflow, closed), return_when=asyncio.FIRST_COMPLETED)
            failure = sending.exception() if sending.done() else None
            slow = overflow.done() or isinstance(failure, TimeoutError)
        finally:
            for task in (sending, overflow, closed):
                task.cancel()
            await asyncio.gather(sending, overflow, closed, return_exceptions=True)
        if slow:
            log.warning("websocket_slow_client")
            await shut(self._socket, self._transport, SLOW_CLIENT, "this client reads too slowly")
        elif failure is not None:
            log.error("websocket_send_failed", reason=repr(failure))
            await shut(self._socket, self._transport, WSCloseCode.INTERNAL_ERROR, "a message cannot be sent")

    async def _send_all(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_str(json.dumps(message, ensure_ascii=False))
            except (ConnectionResetError, RuntimeError):
                return  # closed under our hands: the reader notices as well
            self._queue.task_done()


async def shut(socket: web.WebSocketResponse, transport: asyncio.Transport | None, code: int, reason: str) -> None:
    """Close a WebSocket; the connection is cut after CLOSE_SECONDS, however much its client has not read by then."""
    task = asyncio.current_task()
    assert task is not None
    if transport is not None:
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=code, message=reason.encode(), drain=False)
    except (TimeoutError, ConnectionError, RuntimeError):
        log.debug("websocket_cut")
    except asyncio.CancelledError:
        # aiohttp's writers wait on one shared future: one that is cancelled leaves the others a cancelled future.
        if task.cancelling():
            raise
