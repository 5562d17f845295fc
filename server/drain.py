"""Going out of service: no new sessions; those that run are told and go on, until the last has ended or time is up."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from server.notices import ServerDraining, SessionContinues
from server.problems import ProblemError
from server.sessions import Sessions

log = structlog.get_logger(__name__)

CODE = "draining"
RETRY_SECONDS = 30.0  # told to who is refused, where nobody knows when the server is back
LOOK_SECONDS = 0.25
JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DrainState:
    """since: a time.time(). seconds_left: until the sessions that run are ended; None: they end as they like.
    running: sessions that are awake. stopping: the process ends with the drain; it cannot be taken back.
    """

    draining: bool
    since: float | None
    seconds_left: int | None
    running: int
    stopping: bool


class Drain:
    """At most one at a time; begun again it has another end. On the event loop only."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._clock = clock
        self._since: float | None = None
        self._until = math.inf
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, seconds: float | None, *, stopping: bool = False) -> None:
        """Refuse new sessions and tell the others. seconds: until they are ended; None: never.

        stopping: the process is told to end, which is not taken back.
        """
        self._since = self._since or time.time()
        self._until = math.inf if seconds is None else self._clock() + seconds
        self._stopping = self._stopping or stopping
        left = self._left()
        again = RETRY_SECONDS if left is None else max(RETRY_SECONDS, left)
        self._sessions.refuse_new(CODE, "This server takes no new sessions: it is going out of service.", again)
        self._sessions.tell_all(ServerDraining(left))
        log.info("draining", running=self._sessions.awake, seconds=left, stopping=self._stopping)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._end_in_time(), name="drain")

    async def take_back(self) -> None:
        """Take new sessions again. 409 stopping."""
        if self._stopping:
            raise ProblemError(409, "stopping", "The server is being stopped; that cannot be taken back.")
        if self._since is None:
            return
        self._since = None
        await self.close()
        self._sessions.accept_new()
        self._sessions.tell_all(SessionContinues(CODE))
        log.info("drain_taken_back", running=self._sessions.awake)

    @property
    def state(self) -> DrainState:
        return DrainState(
            draining=self._since is not None,
            since=self._since,
            seconds_left=self._left() if self._since is not None else None,
            running=self._sessions.awake,
            stopping=self._stopping,
        )

    async def over(self) -> None:
        """Returns when nobody is in a session any more. One that was just made is given some seconds to be joined."""
        begun = self._clock()
        while self._occupied() or (self._sessions.awake and self._clock() < begun + JOIN_SECONDS):
            await self._look_again()

    def _occupied(self) -> bool:
        return any(self._sessions.connected(session) for session in self._sessions.all())

    async def close(self) -> None:
        """Stop watching the time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _end_in_time(self) -> None:
        """Ends what still runs when the time is over; the end may be moved meanwhile."""
        while self._clock() < self._until:
            await self._look_again()
        left = self._sessions.all()
        log.info("drained", ended=len(left))
        outcomes = await asyncio.gather(*(self._sessions.end(each, CODE) for each in left), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.error("session_end_failed", exc_info=outcome)

    async def _look_again(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)

    def _left(self) -> int | None:
        return None if self._until == math.inf else max(0, math.ceil(self._until - self._clock()))
