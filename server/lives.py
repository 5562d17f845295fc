"""What sessions live by: live parts opened and closed, those who watch told, those who are connected sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from server.limits import Refusal
from server.session import Session

if TYPE_CHECKING:
    from pipeline.session import LiveSession
    from pipeline.stats import SessionStats

log = structlog.get_logger(__name__)

Open = Callable[[Session], Awaitable["LiveSession"]]
"""Builds and starts the live part of a session (avatar leased, face opened); the composition root gives it."""

Close = Callable[[Session, "LiveSession"], Awaitable[None]]
"""Undoes `Open`: closes the live part and gives the avatar back."""

END_SECONDS = 2.0  # for each viewer and WebSocket to close when their session ends


class Observer(Protocol):
    """Is told what becomes of sessions; must not block and not raise. server.metrics.Metrics is one.

    For a session's events it adds itself to `Session.observers` in `created`.
    """

    def created(self, session: Session) -> None:
        """It is there, perhaps in the waiting line (`waited`), and no event of it was told yet."""

    def refused(self, refusal: Refusal) -> None:
        """One could not start, or not wake."""

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """It fell asleep, or ended (`ended`). stats: of its live part, if it had one."""


class Lives:
    """Keeps no sessions. Its methods want the session's lock held."""

    def __init__(self, open_live: Open, close_live: Close, observers: Sequence[Observer]) -> None:
        self._open = open_live
        self._close = close_live
        self._observers = tuple(observers)

    async def begin(self, session: Session) -> None:
        """Give it a live part."""
        session.live = await self._open(session)

    async def finish(self, session: Session, reason: str) -> None:
        """Take its live part away, if it has one, and tell why."""
        live, session.live = session.live, None
        self.gone(session, reason, live)
        if live is not None:
            await self._close(session, live)

    async def drop(self, session: Session) -> None:
        """The same for one that failed, so that another takes its place; whatever is wrong with it stays behind."""
        try:
            await self.finish(session, "failed")
        except Exception:
            log.exception("session_close_failed", session=session.id)

    @staticmethod
    async def send_away(session: Session) -> None:
        """Close everything that is connected to it."""
        endings = [asyncio.wait_for(ender(), END_SECONDS) for ender in session.enders.values()]
        for outcome in await asyncio.gather(*endings, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("session_ender_failed", session=session.id, exc_info=outcome)

    # -- telling ------------------------------------------------------------------------------------------------

    def created(self, session: Session) -> None:
        for observer in self._observers:
            observer.created(session)

    def refused(self, refusal: Refusal) -> None:
        for observer in self._observers:
            observer.refused(refusal)

    def gone(self, session: Session, reason: str, live: LiveSession | None) -> None:
        """Whatever is wrong with its figures, or with who counts them, stays here."""
        stats = None
        try:
            stats = live.stats() if live is not None else None
        except Exception:
            log.exception("session_figures_failed", session=session.id)
        for observer in self._observers:
            try:
                observer.gone(session, reason, stats)
            except Exception:
                log.exception("session_figures_failed", session=session.id)
