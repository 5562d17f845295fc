"""Who may have a session, and when one has to go: pure decisions, `now` (monotonic seconds) comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """max_sessions: awake at once. max_records: sessions remembered at all, asleep ones included.

    All times in seconds. first: from creation until somebody connects. leave: how long an empty session stays awake.
    timeout: how long a session with nobody connected is kept (asleep) for its student to come back.
    """

    max_sessions: int
    first: float
    leave: float
    timeout: float
    max_records: int = 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """No room now. retry_after: seconds until a seat may come free. cause: the same as `reason`, for the figures."""

    reason: str
    retry_after: float
    cause: Literal["seats", "engine", "records", "draining"] = "seats"


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be done now. sleep: free everything heavy, keep the record; end: forget the session."""

    session_id: str
    action: Literal["sleep", "end"]
    reason: str


@dataclass(slots=True)
class _Seat:
    created: float
    awake: bool
    present: int = 0
    joined: bool = False
    empty_since: float = 0.0


class Admission:
    """Seats for at most `max_sessions` awake sessions. The caller does what `due` says and reports it back."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._seats: dict[str, _Seat] = {}

    @property
    def awake(self) -> int:
        return sum(seat.awake for seat in self._seats.values())

    def admit(self, session_id: str, now: float, capacity: int | None = None) -> Refusal | None:
        """A new session, awake from the start. None: it has its seat.

        capacity: how many the lip-sync engine can serve, here and in `wake`; None: it sets no limit.
        """
        if len(self._seats) >= self.limits.max_records:
            return Refusal("too many sessions wait for their students", self._soonest(now), "records")
        full = self._full(capacity, now)
        if full is not None:
            return full
        self._seats[session_id] = _Seat(created=now, awake=True, empty_since=now)
        return None

    def wake(self, session_id: str, now: float, capacity: int | None = None) -> Refusal | None:
        """Somebody wants a session that may sleep. None: it may be (or is) awake."""
        seat = self._seats[session_id]
        if not seat.awake:
            full = self._full(capacity, now)
            if full is not None:
                return full
            seat.awake = True
        if seat.present == 0 and seat.joined:
            seat.empty_since = now
        return None

    def enter(self, session_id: str, now: float) -> None:
        """A viewer or a WebSocket is there."""
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.present += 1
            seat.joined = True

    def leave(self, session_id: str, now: float) -> None:
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.present = max(0, seat.present - 1)
            if seat.present == 0:
                seat.empty_since = now

    def slept(self, session_id: str) -> None:
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.awake = False

    def release(self, session_id: str) -> None:
        self._seats.pop(session_id, None)

    def present(self, session_id: str) -> int:
        seat = self._seats.get(session_id)
        return seat.present if seat else 0

    def joined(self, session_id: str) -> bool:
        seat = self._seats.get(session_id)
        return bool(seat and seat.joined)

    def remaining(self, session_id: str, now: float) -> float:
        """Seconds until the session ends if nobody is there from now on."""
        seat = self._seats.get(session_id)
        if seat is None:
            return 0.0
        if seat.present:
            return self.limits.timeout
        return max(0.0, seat.empty_since + self._patience(seat) - now)

    def due(self, now: float) -> list[Due]:
        """What has to be done now; the same answer again until it is done."""
        decisions: list[Due] = []
        for session_id, seat in self._seats.items():
            if seat.present:
                continue
            absent = now - seat.empty_since
            if absent >= self._patience(seat):
                decisions.append(Due(session_id, "end", "timeout" if seat.joined else "never_joined"))
            elif seat.awake and seat.joined and absent >= self.limits.leave:
                decisions.append(Due(session_id, "sleep", "left"))
        return decisions

    def next_due(self) -> float | None:
        """When `due` has something next, in the clock of `now`; None: nothing is waiting."""
        times = []
        for seat in self._seats.values():
            if seat.present:
                continue
            times.append(seat.empty_since + self._patience(seat))
            if seat.awake and seat.joined:
                times.append(seat.empty_since + self.limits.leave)
        return min(times, default=None)

    def _full(self, capacity: int | None, now: float) -> Refusal | None:
        if self.awake >= self.limits.max_sessions:
            return Refusal("every seat is taken", self._soonest(now))
        if capacity is not None and self.awake >= capacity:
            return Refusal("the lip-sync engine serves as many as it can", self._soonest(now), "engine")
        return None

    def _patience(self, seat: _Seat) -> float:
        return self.limits.timeout if seat.joined else self.limits.first

    def _soonest(self, now: float) -> float:
        """A guess at when a seat comes free: the earliest empty session's end, else half a minute."""
        upcoming = self.next_due()
        return 30.0 if upcoming is None else min(60.0, max(1.0, upcoming - now))
