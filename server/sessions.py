"""The sessions that exist: made, found by id and token, woken, put to sleep and ended."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from pipeline.events import Event, Problem, ProcessingStatus, SpeechEnded, SpeechStarted, Transcription
from pipeline.persona import Persona
from server.access.tokens import Tokens
from server.gate import Gate, queue_position
from server.limits import Due, Limits, Occupancy, Place
from server.lives import Close, Lives, Observer, Open
from server.load import Load
from server.notices import QueuePosition, SessionEnded, SessionReady
from server.problems import ProblemError, unexpected
from server.records.entries import clean
from server.session import Ender, Listener, Session, Status, iso
from server.watch import Hands, Watch

if TYPE_CHECKING:
    from pipeline.session import LiveSession

__all__ = ["Close", "Ender", "Listener", "Observer", "Open", "Session", "Sessions", "iso"]

log = structlog.get_logger(__name__)


class Sessions:
    """The registry. Owns every live session, and the watch that looks for what is due."""

    def __init__(
        self,
        limits: Limits,
        open_live: Open,
        close_live: Close,
        *,
        capacity: Callable[[], int | None] = lambda: None,
        load: Load | None = None,
        observers: Sequence[Observer] = (),
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """capacity: how many speaking sessions the lip-sync engine can serve, if it knows. load: the machine's."""
        self._tokens = tokens or Tokens.unshared()
        self._lives = Lives(open_live, close_live, observers)
        self._gate = Gate(
            limits, load or Load(), capacity=capacity, speaking=self._speaking, refused=self._lives.refused, clock=clock
        )
        self._admission = self._gate.admission
        hands = Hands(self._sessions_of, self._take_turn, self._fall_asleep, self.end)
        self._watch = Watch(self._gate, hands, clock)
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._leaving: Counter[str] = Counter()  # students who are just being deleted

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

    def status(self, session: Session) -> Status:
        state = self._admission.state(session.id)
        if state == "waiting" or session.live is not None:
            return "waiting" if state == "waiting" else "active" if self.connected(session) else "ready"
        return "starting" if state == "awake" else "asleep"

    def connected(self, session: Session) -> int:
        """Viewers and WebSockets that are connected now: one student is two of them."""
        return self._admission.present(session.id)

    def place(self, session: Session) -> Place | None:
        """Its place in the waiting line; None: it does not wait."""
        return self._gate.place(session.id)

    def news(self, session: Session) -> QueuePosition | SessionReady | None:
        """What somebody has to know who connects to a session that waits, or did; None: it never waited."""
        place = self.place(session)
        if place is not None:
            return queue_position(place)
        return SessionReady() if session.waited and session.live is not None else None

    def remaining(self, session: Session) -> float:
        """Seconds until it ends if nobody is there, or says anything, from now on."""
        return self._admission.remaining(session.id, self._clock())

    def occupancy(self) -> Occupancy:
        """How full the server is, and why a session that came now would be refused."""
        return self._gate.occupancy()

    @property
    def awake(self) -> int:
        return self._admission.awake

    @property
    def waiting(self) -> int:
        return len(self._admission.line)

    @property
    def limits(self) -> Limits:
        return self._admission.limits

    # -- the operator's hand ------------------------------------------------------------------------------------

    def refuse_new(self, code: str, detail: str, retry_after: float = 30.0) -> None:
        """From now on every new session, and every sleeping one that is to wake, gets 503 with this code (`draining`)
        and sentence; those that wait are told the same, and end. Those that run go on.
        """
        self._gate.shut(code, detail, retry_after)
        self._watch.look_soon()

    def accept_new(self) -> None:
        """Take `refuse_new` back."""
        self._gate.open()

    @property
    def refusing(self) -> str | None:
        """The code that new sessions are refused with, whatever room there is; None: they are not."""
        return self._gate.closed.code if self._gate.closed is not None else None

    def tell_all(self, event: Event) -> None:
        """Hand an event to every session, as if it had happened in it."""
        for session in self.all():
            session.emit(event)

    def set_limits(self, limits: Limits) -> None:
        """Other limits from now on, also for the sessions that run; nobody loses a seat that is taken."""
        self._admission.limits = limits
        self._watch.look_soon()

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
        wait: bool = False,
    ) -> Session:
        """A new session, awake: its picture and sound run. Where there is no room for it: 503 at_capacity, or with
        `wait` a session in the waiting line, and 503 only if that is full. 409 student_being_deleted.
        """
        if self._leaving[clean(student_id)]:
            raise ProblemError(
                409,
                "student_being_deleted",
                "All of this student is being deleted just now. Begin the session when that is done.",
                headers={"Retry-After": "5"},
            )
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
        session.waited = not self._gate.admit(session.id, wait=wait)
        self._sessions[session.id] = session
        session.observers.append(partial(self._happened, session.id))
        self._lives.created(session)
        if session.waited:
            log.info("session_waits", session=session.id, avatar=avatar_id, waiting=self.waiting)
        else:
            try:
                async with session.lock:
                    await self._lives.begin(session)
            except BaseException:
                self._forget(session)
                self._lives.gone(session, "not_started", None)
                raise
            log.info("session_created", session=session.id, avatar=avatar_id, awake=self.awake)
        self._watch.look_soon()
        return session

    async def wake(self, session: Session) -> LiveSession:
        """The live part, started again if the session slept or its live part has failed. 503 at_capacity, or `waiting`
        while it is not its turn; 404 if it ended meanwhile.
        """
        async with session.lock:
            self.get(session.id)
            if session.live is not None and not session.live.running:
                await self._lives.drop(session)
            self._gate.wake(session.id)
            if session.live is None:
                await self._start(session)
            self._watch.look_soon()
            assert session.live is not None
            return session.live

    async def come(self, session: Session, *, wait: bool = False) -> None:
        """Somebody connects: a session that waits goes on waiting, any other one is woken. wait: where there is no room
        for one that sleeps, it joins the waiting line. Problems as of `wake`.
        """
        if wait:
            async with session.lock:
                self.get(session.id)
                if self._gate.queue(session.id):
                    session.waited = True
                    self._watch.look_soon()
        if self.place(session) is None:
            await self.wake(session)

    def touch(self, session: Session) -> None:
        """Somebody is there: as if something had been said."""
        if self._admission.touch(session.id, self._clock()):
            self._watch.look_soon()

    @contextlib.contextmanager
    def present(self, session: Session, ender: Ender | None = None) -> Iterator[None]:
        """Somebody (a viewer's peer, a WebSocket) is there for as long as the block lasts; it keeps the session alive.

        ender: awaited when the session ends or is deleted; it must make the block end soon.
        """
        key = object()
        if ender is not None:
            session.enders[key] = ender
        self._admission.enter(session.id, self._clock())
        self._watch.look_soon()
        try:
            yield
        finally:
            session.enders.pop(key, None)
            self._admission.leave(session.id, self._clock())
            self._watch.look_soon()

    @contextlib.contextmanager
    def following(self, session: Session) -> Iterator[None]:
        """Somebody reads its events: that keeps a place in the waiting line, but no session awake."""
        self._admission.follow(session.id, self._clock())
        try:
            yield
        finally:
            self._admission.unfollow(session.id, self._clock())
            self._watch.look_soon()

    @contextlib.contextmanager
    def refusing_student(self, student_id: str) -> Iterator[list[Session]]:
        """For as long as the block lasts nobody begins a session of this student; gives those that run."""
        student_id = clean(student_id)
        self._leaving[student_id] += 1
        try:
            yield [session for session in self.all() if clean(session.student_id) == student_id]
        finally:
            self._leaving -= Counter((student_id,))

    async def end_by_id(self, session_id: str, reason: str) -> None:
        """The same as `end`; nothing where there is no such session."""
        session = self._sessions.get(session_id)
        if session is not None:
            await self.end(session, reason)

    async def end(self, session: Session, reason: str) -> None:
        """End a session and free everything of it. Who is connected gets its last events first. Ending an ended one
        does nothing.
        """
        if session.ended:
            return
        session.ended = True
        try:
            async with session.lock:
                await self._sleep(session, reason)
        finally:
            try:
                session.emit(SessionEnded(reason))
                await self._lives.send_away(session)
            finally:
                self._forget(session)
        log.info("session_ended", session=session.id, reason=reason)

    # -- watching -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._watch.start()

    async def close(self) -> None:
        """End every session and the watching."""
        await self._watch.close()
        outcomes = await asyncio.gather(
            *(self.end(session, "shutdown") for session in self.all()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.error("session_end_failed", exc_info=outcome)

    async def _fall_asleep(self, session: Session, due: Due) -> None:
        async with session.lock:
            if due in self._admission.due(self._clock()):  # nobody came back while the lock was waited for
                await self._sleep(session, due.reason)
                log.info("session_asleep", session=session.id, reason=due.reason)

    async def _take_turn(self, session: Session) -> None:
        """It has left the line and has a seat. One that cannot start is told why, and ends: the next one goes on."""
        try:
            async with session.lock:
                if session.ended:
                    return
                if session.live is None:
                    await self._start(session)
        except Exception as error:  # noqa: BLE001 - whatever it is
            problem = unexpected(error, session=session.id)
            session.emit(Problem(problem.code, problem.detail))
            await self.end(session, "not_started")
        else:
            session.emit(SessionReady())

    # -- inside -------------------------------------------------------------------------------------------------

    def _sessions_of(self, session_id: str) -> Session:
        return self._sessions[session_id]

    def _happened(self, session_id: str, event: Event) -> None:
        """What counts as talk: a question, speech of either side, an answer being thought of."""
        busy: bool | None = None
        match event:
            case ProcessingStatus(status=status):
                busy = status != "idle"
            case SpeechStarted() | SpeechEnded() | Transcription():
                pass
            case _:
                return
        if self._admission.touch(session_id, self._clock(), busy=busy):
            self._watch.look_soon()

    async def _start(self, session: Session) -> None:
        """Open the live part of a session that has its seat; it sleeps if that fails. With the lock held."""
        try:
            await self._lives.begin(session)
        except BaseException:
            self._admission.slept(session.id, self._clock())
            self._watch.look_soon()
            raise
        log.info("session_started", session=session.id)

    async def _sleep(self, session: Session, reason: str) -> None:
        try:
            await self._lives.finish(session, reason)
        finally:
            self._admission.slept(session.id, self._clock())
            self._watch.look_soon()

    def _forget(self, session: Session) -> None:
        session.ended = True
        session.events.close()
        self._admission.release(session.id, self._clock())
        self._sessions.pop(session.id, None)
        self._watch.look_soon()

    def _speaking(self) -> int:
        return sum(each.live is not None and each.live.status == "speaking" for each in self._sessions.values())
