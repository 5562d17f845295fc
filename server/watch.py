"""Looks after sessions: carries out what is due (warnings, sleep, ends) and gives free seats to the waiting line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from pipeline.events import Problem
from server.gate import Gate, queue_position
from server.limits import Due
from server.notices import QueuePosition, SessionContinues, SessionEnding
from server.session import Session

log = structlog.get_logger(__name__)

LINE_SECONDS = 1.0  # how often is looked whether the machine has room for who waits
CLOSE_SECONDS = 6.0  # for what is under way to be finished


@dataclass(frozen=True, slots=True)
class Hands:
    """What the watch has done by others. find: raises KeyError. start: of one whose turn it is; raises nothing."""

    find: Callable[[str], Session]
    start: Callable[[Session], Awaitable[None]]
    sleep: Callable[[Session, Due], Awaitable[None]]
    end: Callable[[Session, str], Awaitable[None]]


class Watch:
    """Owns one task that looks, and one for each session that starts, falls asleep or ends just now."""

    def __init__(self, gate: Gate, hands: Hands, clock: Callable[[], float]) -> None:
        self._gate = gate
        self._admission = gate.admission
        self._hands = hands
        self._clock = clock
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._going: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, QueuePosition] = {}
        self._closing = False

    def look_soon(self) -> None:
        """Something has changed."""
        self._changed.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sessions-watch")

    async def close(self) -> None:
        """Stop looking; what is under way is let finish: cancelled, it would stay half ended."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._going:
            _, late = await asyncio.wait(self._going.values(), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closing:
            self._changed.clear()
            try:
                self._look()
            except Exception:
                log.exception("sessions_watch_failed")
            upcoming = self._admission.next_due()
            timeout = None if upcoming is None else max(0.05, upcoming - self._clock())
            if self._admission.line:
                timeout = LINE_SECONDS if timeout is None else min(LINE_SECONDS, timeout)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)

    # -- one look -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        for due in self._admission.due(self._clock()):
            if due.session_id in self._going:
                continue
            session = self._hands.find(due.session_id)
            if due.action in ("warn", "relent"):
                self._warn(session, due)
            elif self._admission.state(session.id) == "waiting":
                self._admission.slept(session.id, self._clock())  # at once: nobody may be given a seat who goes
                if due.action == "end":
                    self._begin(session, self._hands.end(session, due.reason))
            elif due.action == "end":
                self._begin(session, self._end(session, due))
            else:
                self._begin(session, self._hands.sleep(session, due))
        if self._gate.closed is not None:
            self._dismiss_line(self._gate.closed.code, self._gate.closed.detail)
            return
        while (session_id := self._gate.turn()) is not None:
            session = self._hands.find(session_id)
            log.info("session_turn", session=session_id, waiting=len(self._admission.line))
            self._begin(session, self._hands.start(session))
        self._tell_line()

    def _tell_line(self) -> None:
        """Everybody in it whose place, or the guess for it, has changed."""
        told, self._told = self._told, {}
        for session_id, place in self._admission.places(self._clock()):
            self._told[session_id] = position = queue_position(place)
            if position != told.get(session_id):
                self._hands.find(session_id).emit(position)

    def _dismiss_line(self, code: str, detail: str) -> None:
        for session_id in self._admission.line:
            session = self._hands.find(session_id)
            self._admission.slept(session_id, self._clock())
            session.emit(Problem(code, detail))
            self._begin(session, self._hands.end(session, code))

    def _warn(self, session: Session, due: Due) -> None:
        self._admission.warned(due)
        if due.action == "relent":
            session.emit(SessionContinues(due.reason))
        else:
            session.emit(SessionEnding(max(1, round(due.at - self._clock())), due.reason))

    async def _end(self, session: Session, due: Due) -> None:
        if due in self._admission.due(self._clock()):  # nobody came back, and nothing was said, meanwhile
            await self._hands.end(session, due.reason)

    def _begin(self, session: Session, work: Awaitable[None]) -> None:
        self._going[session.id] = asyncio.create_task(self._do(session, work), name=f"session-due {session.id}")

    async def _do(self, session: Session, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            log.exception("session_watch_failed", session=session.id)
        finally:
            if self._going.get(session.id) is asyncio.current_task():
                del self._going[session.id]
            self._changed.set()
