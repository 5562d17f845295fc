"""Lets sessions in, has them wait, or says why not: admission, what is measured of the machine, the operator's word."""

from __future__ import annotations

from collections.abc import Callable

from server.admission import RETRY_SECONDS, Admission
from server.limits import Limits, Occupancy, Place, Refusal, Room
from server.load import Load
from server.notices import QueuePosition
from server.problems import ProblemError, at_capacity, not_now


class Gate:
    """The only one that asks `admission` for seats. The caller tells it of comings and goings directly."""

    def __init__(
        self,
        limits: Limits,
        load: Load,
        *,
        capacity: Callable[[], int | None],
        speaking: Callable[[], int],
        refused: Callable[[Refusal], None],
        clock: Callable[[], float],
    ) -> None:
        """speaking: how many sessions' tutors speak now. refused: told of each session that could not start."""
        self.admission = Admission(limits)
        self._load = load
        self._capacity = capacity
        self._speaking = speaking
        self._refused = refused
        self._clock = clock
        self._closed: ProblemError | None = None

    # -- the operator's word ------------------------------------------------------------------------------------

    def shut(self, code: str, detail: str, retry_after: float) -> None:
        """Nobody is let in any more, whatever room there is."""
        self._closed = not_now(code, detail, retry_after)

    def open(self) -> None:
        self._closed = None

    @property
    def closed(self) -> ProblemError | None:
        """What everybody is answered that comes; None: there is no such word."""
        return self._closed

    # -- coming -------------------------------------------------------------------------------------------------

    def admit(self, session_id: str, *, wait: bool) -> bool:
        """A new session. True: it has its seat; False: it waits. Raises ProblemError: 503."""
        self._check()
        now = self._clock()
        refusal = self.admission.admit(session_id, now, self.room())
        if refusal is not None and wait:
            refusal = self.admission.wait(session_id, now)
            if refusal is None:
                return False
        self._or_503(refusal)
        self._load.started(now)
        return True

    def wake(self, session_id: str) -> None:
        """It has a seat when this returns. Raises ProblemError: 503 waiting, at_capacity, or the operator's."""
        place = self.place(session_id)
        if place is not None:
            raise _not_yet(place)
        now = self._clock()
        if self.admission.state(session_id) == "awake":
            self.admission.wake(session_id, now)
            return
        self._check()
        self._or_503(self.admission.wake(session_id, now, self.room()))
        self._load.started(now)

    def queue(self, session_id: str) -> bool:
        """A sleeping one joins the line, unless there is room for it: then False. Raises ProblemError: 503."""
        self._check()
        now = self._clock()
        if self.admission.state(session_id) != "asleep" or self.admission.refusal(now, self.room()) is None:
            return False
        self._or_503(self.admission.wait(session_id, now))
        return True

    def turn(self) -> str | None:
        """Whose turn it is; its seat is taken."""
        now = self._clock()
        session_id = None if self._closed is not None else self.admission.turn(now, self.room())
        if session_id is not None:
            self._load.started(now)
        return session_id

    def place(self, session_id: str) -> Place | None:
        """Its place in the line; None: it does not wait."""
        return self.admission.place(session_id, self._clock())

    # -- figures ------------------------------------------------------------------------------------------------

    def room(self) -> Room:
        """What there is room for, as measured."""
        admission, capacity = self.admission, self._capacity()
        speaking = 0 if capacity is None else self._speaking()
        return Room(capacity, speaking, self._load.overload(self._clock(), admission.awake, admission.limits))

    def occupancy(self) -> Occupancy:
        room = self.room()
        refusal = self.admission.refusal(self._clock(), room)
        return Occupancy(
            awake=self.admission.awake,
            waiting=len(self.admission.line),
            speaking=self._speaking(),
            capacity=room.capacity,
            cpu=round(self._load.cpu, 1),
            loop=round(self._load.loop, 1),
            late=round(self._load.late, 4),
            refused="draining" if self._closed is not None else None if refusal is None else refusal.cause,
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed is not None:
            retry_after = float(self._closed.headers["Retry-After"])
            self._refused(Refusal(self._closed.detail, retry_after, "draining"))
            raise not_now(self._closed.code, self._closed.detail, retry_after)

    def _or_503(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._refused(refusal)
            detail = f"No session can start now: {refusal.reason}. Try again soon."
            raise at_capacity(detail, refusal.retry_after, cause=refusal.cause)


def queue_position(place: Place) -> QueuePosition:
    """A place as it is told; the guess in steps that suit it: tens of seconds, then minutes."""
    if place.estimate is None:
        return QueuePosition(place.position)
    step = 10 if place.estimate < 55 else 60
    return QueuePosition(place.position, max(step, step * round(place.estimate / step)))


def _not_yet(place: Place) -> ProblemError:
    told = queue_position(place)
    return not_now(
        "waiting",
        "This session waits for a seat; its events tell when it is its turn.",
        RETRY_SECONDS if place.estimate is None else place.estimate,
        position=told.position,
        estimated_seconds=told.estimated_seconds,
    )
