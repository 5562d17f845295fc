"""Which session log lines belong to: bound around what is done for one, and carried by every task that begins there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import Context

import structlog


@contextlib.contextmanager
def about(session_id: str) -> Iterator[None]:
    """Lines from inside, and from the tasks that begin inside, carry `session`."""
    with structlog.contextvars.bound_contextvars(session=session_id):
        yield


def of_nobody() -> Context:
    """For what begins on behalf of one session and serves all: its lines name a session only where they say so."""
    return Context()
