"""What sends a live session to another server, whatever the protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.outputs.tap import Source


class LinkError(Exception):
    """It could not be connected, or broke. str() is a sentence for people, without secrets. `code` is stable:
    unreachable, timeout, refused, broken, stalled, bad_answer, codec_refused, internal. final: not to be tried again.
    """

    def __init__(self, code: str, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.final = final


class Link(Protocol):
    async def push(self, source: Source, connected: Callable[[], None]) -> None:
        """Connect and send until the session stops or sleeps, then say goodbye; also when it is cancelled.

        connected: called on the event loop, once, when the other server takes it. Raises LinkError, SessionClosed.
        """
