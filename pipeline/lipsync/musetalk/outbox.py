"""What waits to be sent to a worker, and the thread that sends it: giving a message never waits."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from multiprocessing.connection import Connection

import structlog

from pipeline.lipsync.musetalk.messages import ToWorker

log = structlog.get_logger(__name__)

MESSAGES = 4096  # that may wait
_TOGETHER = 256
_END_SECONDS = 3.0


class Outbox:
    """Messages of one generation of the worker; those of others are dropped. Owns a thread, from `start` to `close`.

    `put` may be called anywhere, from a finalizer too, which the garbage collector may run in the midst of `put`.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int, ToWorker] | None] = queue.SimpleQueue()  # its put is reentrant
        self._sending = threading.Lock()
        self._connection: Connection | None = None
        self._generation = 0
        self._thread = threading.Thread(target=self._run, name="musetalk-out", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, generation: int, message: ToWorker) -> bool:
        """False: too many wait already."""
        if self._queue.qsize() >= MESSAGES:
            return False
        self._queue.put((generation, message))
        return True

    def connect(self, connection: Connection, generation: int) -> None:
        """From here on messages of this generation are sent."""
        with self._sending:
            self._connection, self._generation = connection, generation

    def disconnect(self) -> None:
        """The worker is given up, and its connection closed, whatever state it is in."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # so that the thread does not wait for a worker that reads no more
        with self._sending:
            self._connection = None
            connection.close()

    def close(self) -> None:
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting = [first]
            while len(waiting) < _TOGETHER and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    return
                waiting.append(more)
            with self._sending:
                messages = [message for generation, message in waiting if generation == self._generation]
                if self._connection is None or not messages:
                    continue
                try:
                    self._connection.send(messages)
                except (OSError, ValueError) as error:  # it died; the owner sees it as well
                    log.debug("musetalk_send_failed", why=str(error))
