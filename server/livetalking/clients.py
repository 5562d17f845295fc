"""What LiveTalking's clients call a session: a number by which they find it, and the one connection it lives by."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import structlog

from server.problems import ProblemError
from server.session import Session
from server.sessions import Sessions

if TYPE_CHECKING:
    from pipeline.session import LiveSession

log = structlog.get_logger(__name__)

KEPT = 4096
"""Numbers that are remembered, also those of sessions that have ended: their recordings are asked for afterwards."""

LEAST, MOST = 10**14, 2**53 - 1
"""Older clients read the number with parseInt, so it is one that JavaScript holds exactly. 53 bits of chance: whoever
knows it may steer the session.
"""

CLOSE_SECONDS = 5.0


class Clients:
    """Implements server.rtc.joining.SessionLookup: a session ends when its connection does, as it does there."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: OrderedDict[str, str] = OrderedDict()
        self._endings: set[asyncio.Task[None]] = set()

    def number(self, session: Session) -> str:
        """A new one for a session."""
        number = str(LEAST + secrets.randbelow(MOST - LEAST))
        self._known[number] = session.id
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return number

    def session_id(self, number: str) -> str:
        """Also of a session that has ended. 404 session_not_found."""
        found = self._known.get(number)
        if found is None:
            raise _unknown()
        return found

    def session(self, number: str) -> Session:
        """404 session_not_found."""
        try:
            return self._sessions.get(self.session_id(number))
        except ProblemError:
            raise _unknown() from None

    # -- the connection -----------------------------------------------------------------------------------------

    def authorise(self, session_id: str, token: str | None) -> Session:
        return self._sessions.authorise(session_id, token)

    async def wake(self, session: Session) -> LiveSession:
        return await self._sessions.wake(session)

    @contextlib.contextmanager
    def present(self, session: Session, ender: Callable[[], Awaitable[None]] | None = None) -> Iterator[None]:
        with self._sessions.present(session, ender):
            yield
        task = asyncio.create_task(self._sessions.end(session, "left"), name="livetalking-end")
        self._endings.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Wait for the sessions that are just being ended."""
        if self._endings:
            await asyncio.wait(self._endings, timeout=CLOSE_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("livetalking_end_failed", exc_info=task.exception())


def _unknown() -> ProblemError:
    return ProblemError(404, "session_not_found", "session not found")
