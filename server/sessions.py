"""The sessions that exist: made, found by id and token, woken, put to sleep and ended."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pipeline.events import Event
from pipeline.persona import Persona
from server.access.tokens import Tokens
from server.admission import Admission, Due, Limits, Refusal
from server.problems import ProblemError, at_capacity
from server.session import Ender, Listener, Session, iso

if TYPE_CHECKING:
    from pipeline.session import LiveSession
    from pipeline.stats import SessionStats

__all__ = ["Close", "Ender", "Listener", "Observer", "Open", "Session", "Sessions", "iso", "summary"]

log = structlog.get_logger(__name__)

Open = Callable[[Session], Awaitable["LiveSession"]]
"""Builds and starts the live part of a session (avatar leased, face opened); the composition root gives it."""

Close = Callable[[Session, "LiveSession"], Awaitable[None]]
"""Undoes `Open`: closes the live part and gives the avatar back."""


class Observer(Protocol):
    """Is told what becomes of sessions; must not block and not raise. server.metrics.Metrics is one.

    For a session's events it adds itself to `Session.observers` in `created`.
    """

    def created(self, session: Session) -> None:
        """It is there, and no event of it was told yet."""

    def refused(self, refusal: Refusal) -> None:
        """One could not start, or not wake."""

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """It fell asleep, or ended (`ended`). stats: of its live part, if it had one."""


CLOSE_SECONDS = 6.0  # for the watcher to finish the end it is at
END_SECONDS = 2.0  # for each viewer and WebSocket to close when their session ends


class Sessions:
    """The registry. Owns every live session and the one task that watches for those that have to go."""

    def __init__(
        self,
        limits: Limits,
        open_live: Open,
        close_live: Close,
        *,
        capacity: Callable[[], int | None] = lambda: None,
        observers: Sequence[Observer] = (),
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """capacity: how many speaking sessions the lip-sync engine can serve, if it knows."""
        self._tokens = tokens or Tokens.unshared()
        self._observers = tuple(observers)
        self._capacity = capacity
        self._admission = Admission(limits)
        self._open = open_live
        self._close = close_live
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._refusal: ProblemError | None = None

    # -- finding ------------------------------------------------------------------------------------------------

    def get(self, session_id: str) -> Session:
        """The session, or 404 session_not_found."""
        session = self._sessions.get(session_id)
        if session is None or session.ended:
            raise ProblemError(
                404, "session_not_found", "There is no such session; it may have ended. Start a new one."
            )
        return session

    def authorise(self, session_id: str, token: str | None) -> Session:
        """The session if the token is its own: else 404, or 401 wrong_token, token_expired."""
        session = self.get(session_id)
        self._tokens.check(session.id, token)
        return session

    def all(self) -> list[Session]:
        return [session for session in self._sessions.values() if not session.ended]

    def using(self, avatar_id: str) -> int:
        """How many sessions are on an avatar."""
        return sum(session.avatar_id == avatar_id for session in self.all())

    def viewers(self, session: Session) -> int:
        """Viewers and WebSockets that are connected now."""
        return self._admission.present(session.id)

    def remaining(self, session: Session) -> float:
        """Seconds until it ends if nobody is there from now on."""
        return self._admission.remaining(session.id, self._clock())

    @property
    def awake(self) -> int:
        return self._admission.awake

    @property
    def limits(self) -> Limits:
        return self._admission.limits

    # -- the operator's hand ------------------------------------------------------------------------------------

    def refuse_new(self, code: str, detail: str, retry_after: float = 30.0) -> None:
        """From now on every new session, and every sleeping one that is to wake, gets 503 with this code (`draining`)
        and sentence. Those that run go on.
        """
        seconds = str(max(1, round(retry_after)))
        self._refusal = ProblemError(503, code, detail, headers={"Retry-After": seconds}, retry_after=int(seconds))

    def accept_new(self) -> None:
        """Take `refuse_new` back."""
        self._refusal = None

    @property
    def refusing(self) -> str | None:
        """The code that new sessions are refused with, whatever room there is; None: they are not."""
        return self._refusal.code if self._refusal is not None else None

    def tell_all(self, event: Event) -> None:
        """Hand an event to every session, as if it had happened in it."""
        for session in self.all():
            session.emit(event)

    def set_limits(self, limits: Limits) -> None:
        """Other limits from now on, also for the sessions that run; nobody loses a seat that is taken."""
        self._admission.limits = limits
        self._changed.set()

    # -- living -------------------------------------------------------------------------------------------------

    async def create(
        self,
        *,
        avatar_id: str,
        student_id: str,
        tutor_id: str | None = None,
        kb_id: str | None = None,
        voice: str | None = None,
        persona: Persona | None = None,
    ) -> Session:
        """A new session, awake: its picture and sound run. 503 at_capacity when every seat is taken."""
        self._or_refuse()
        session_id = secrets.token_hex(16)
        token, token_expires = self._tokens.issue(session_id)
        session = Session(
            id=session_id,
            token=token,
            token_expires=token_expires,
            avatar_id=avatar_id,
            voice=voice,
            student_id=student_id,
            tutor_id=tutor_id,
            kb_id=kb_id,
            created_at=time.time(),
            persona=persona or Persona(),
        )
        self._or_503(self._admission.admit(session.id, self._clock(), self._capacity()))
        self._sessions[session.id] = session
        for observer in self._observers:
            observer.created(session)
        try:
            async with session.lock:
                session.live = await self._open(session)
        except BaseException:
            self._forget(session)
            self._tell_gone(session, "not_started", None)
            raise
        self._changed.set()
        log.info("session_created", session=session.id, avatar=avatar_id, awake=self.awake)
        return session

    async def wake(self, session: Session) -> LiveSession:
        """The live part, started again if the session slept or its live part has failed. 503 at_capacity; 404 if it
        ended meanwhile.
        """
        async with session.lock:
            self.get(session.id)
            if session.live is not None and not session.live.running:
                await self._drop(session)
            if session.live is None:
                self._or_refuse()
            self._or_503(self._admission.wake(session.id, self._clock(), self._capacity()))
            if session.live is None:
                try:
                    session.live = await self._open(session)
                except BaseException:
                    self._admission.slept(session.id)
                    raise
                log.info("session_woken", session=session.id)
            self._changed.set()
            return session.live

    @contextlib.contextmanager
    def present(self, session: Session, ender: Ender | None = None) -> Iterator[None]:
        """Somebody (a viewer's peer, a WebSocket) is there for as long as the block lasts; it keeps the session alive.

        ender: awaited when the session ends or is deleted; it must make the block end soon.
        """
        key = object()
        if ender is not None:
            session.enders[key] = ender
        self._admission.enter(session.id, self._clock())
        self._changed.set()
        try:
            yield
        finally:
            session.enders.pop(key, None)
            self._admission.leave(session.id, self._clock())
            self._changed.set()

    async def end(self, session: Session, reason: str) -> None:
        """End a session and free everything of it. Ending an ended one does nothing."""
        if session.ended:
            return
        session.ended = True
        endings = [asyncio.wait_for(ender(), END_SECONDS) for ender in session.enders.values()]
        for outcome in await asyncio.gather(*endings, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("session_ender_failed", session=session.id, exc_info=outcome)
        try:
            async with session.lock:
                await self._sleep(session, reason)
        finally:
            self._forget(session)
        log.info("session_ended", session=session.id, reason=reason)

    # -- watching -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._watch = asyncio.create_task(self._watch_forever(), name="sessions-watch")

    async def close(self) -> None:
        """End every session and the watching."""
        self._closing = True
        self._changed.set()
        if self._watch is not None:  # it is let finish what it ends just now: cancelled, that would stay half ended
            await asyncio.wait({self._watch}, timeout=CLOSE_SECONDS)
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        outcomes = await asyncio.gather(
            *(self.end(session, "shutdown") for session in self.all()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.error("session_end_failed", exc_info=outcome)

    async def _watch_forever(self) -> None:
        while not self._closing:
            self._changed.clear()
            for due in self._admission.due(self._clock()):
                await self._carry_out(due)
            upcoming = self._admission.next_due()
            timeout = None if upcoming is None else max(0.05, upcoming - self._clock())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)

    async def _carry_out(self, due: Due) -> None:
        session = self._sessions.get(due.session_id)
        if session is None:  # it was ended while another one's end was waited for
            return
        try:
            if due.action == "end":
                await self.end(session, due.reason)
                return
            async with session.lock:
                if due in self._admission.due(self._clock()):  # nobody came back while the lock was waited for
                    await self._sleep(session, due.reason)
                    log.info("session_asleep", session=session.id, reason=due.reason)
        except Exception:
            log.exception("session_watch_failed", session=session.id, action=due.action)

    async def _drop(self, session: Session) -> None:
        """Free a live part that failed, so that another takes its place; whatever is wrong with it stays behind."""
        try:
            await self._sleep(session, "failed")
        except Exception:
            log.exception("session_close_failed", session=session.id)

    async def _sleep(self, session: Session, reason: str) -> None:
        live, session.live = session.live, None
        try:
            self._tell_gone(session, reason, live)
            if live is not None:
                await self._close(session, live)
        finally:
            self._admission.slept(session.id)

    def _tell_gone(self, session: Session, reason: str, live: LiveSession | None) -> None:
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

    def _forget(self, session: Session) -> None:
        session.ended = True
        session.events.close()
        self._admission.release(session.id)
        self._sessions.pop(session.id, None)
        self._changed.set()

    def _or_refuse(self) -> None:
        if self._refusal is None:
            return
        headers, extra = self._refusal.headers, self._refusal.extra
        for observer in self._observers:
            observer.refused(Refusal(self._refusal.detail, float(headers["Retry-After"]), "draining"))
        raise ProblemError(503, self._refusal.code, self._refusal.detail, headers=headers, **extra)

    def _or_503(self, refusal: Refusal | None) -> None:
        if refusal is None:
            return
        for observer in self._observers:
            observer.refused(refusal)
        raise at_capacity(f"No session can start now: {refusal.reason}. Try again soon.", refusal.retry_after)


def summary(sessions: Sessions, session: Session) -> dict[str, Any]:
    """A session as the API shows it; no token in it."""
    return {
        "session_id": session.id,
        "status": "active" if sessions.viewers(session) else "ready" if session.live is not None else "asleep",
        "avatar_id": session.avatar_id,
        "tutor_id": session.tutor_id,
        "student_id": session.student_id,
        "kb_id": session.kb_id,
        "voice": session.voice,
        "viewers": sessions.viewers(session),
        "recording": session.recording_id is not None,
        "recording_id": session.recording_id,
        "created_at": iso(session.created_at),
        "expires_at": iso(time.time() + sessions.remaining(session)),
    }
