"""Answers that go on for long end with the key they were asked for with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from server.access.caller import CALLER
from server.keys import KEYS


@contextmanager
def while_key_is_good(request: web.Request) -> Iterator[None]:
    """Cut the connection when the key that the request shows is removed; a session's token has its own end."""
    caller = request.get(CALLER)

    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()

    if caller is None:
        yield
        return
    with request.app[KEYS].held(caller, cut):
        yield
