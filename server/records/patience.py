"""How long who asks waits for the database: a request has so many seconds in all, whatever it wants there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_SECONDS = 3.0  # a client that gives up after 5 s (httpx) is to see the answer


@dataclass(slots=True)
class _Patience:
    """over: its request is; what that left running in the background has time."""

    left: float
    over: bool = False


_PATIENCE: ContextVar[_Patience | None] = ContextVar("patience", default=None)
_UNTIL: ContextVar[float] = ContextVar("until")  # time.monotonic() at which the transaction has to be over


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """What the block wants of the database has to take no longer, all in all."""
    before = _PATIENCE.get()
    own = _Patience(seconds if before is None or before.over else min(seconds, before.left))
    mark = _PATIENCE.set(own)
    try:
        yield
    finally:
        own.over = True
        _PATIENCE.reset(mark)


@asynccontextmanager
async def waiting(most: float) -> AsyncIterator[None]:
    """So many seconds, or what is left of them. Raises TimeoutError."""
    own = _PATIENCE.get()
    seconds = most if own is None or own.over else max(0.0, min(most, own.left))
    began = time.monotonic()
    mark = _UNTIL.set(began + seconds)
    try:
        async with asyncio.timeout(seconds):
            yield
    finally:
        _UNTIL.reset(mark)
        if own is not None:
            own.left -= time.monotonic() - began


def left(most: float) -> float:
    """Seconds that are left of the wait that this stands in."""
    return max(0.0, min(most, _UNTIL.get(float("inf")) - time.monotonic()))
