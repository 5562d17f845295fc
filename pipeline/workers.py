"""The threads that all sessions of a process share: some that encode pictures, some that analyse speech."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

_SPEECH_THREADS = 2

_NICER = 5
"""How much nicer speech is than pictures: it is made up to 2 s ahead, a picture is due in 60 ms (docs/decisions.md)."""


def give_way() -> None:
    """Lower the calling thread's priority below that of pictures and the event loop, where threads have their own."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + _NICER))


class Workers:
    """Started with the first session, stopped with the last. Never asyncio's default executor: it is for others.

    Queues are bounded by their users: a session has at most one picture and two pieces of speech under way.
    """

    def __init__(self) -> None:
        self._users = 0
        self._lock = threading.Lock()
        self._pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None

    def acquire(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Pools for pictures and for speech; `release` them."""
        with self._lock:
            if self._pools is None:
                pictures = max(2, os.cpu_count() or 2)
                self._pools = (
                    ThreadPoolExecutor(pictures, thread_name_prefix="picture"),
                    ThreadPoolExecutor(_SPEECH_THREADS, thread_name_prefix="speech", initializer=give_way),
                )
            self._users += 1
            return self._pools

    def release(self) -> None:
        """To be called when the user's own work is done or cancelled. Does not wait."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._pools is not None:
                for pool in self._pools:
                    pool.shutdown(wait=False, cancel_futures=True)
                self._pools = None


WORKERS = Workers()
