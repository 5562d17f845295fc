"""Who may have a session, who waits for one, and when one has to go: pure decisions, `now` (monotonic s) comes in."""

from __future__ import annotations

from collections.abc import Iterator

from server.limits import Due, Limits, Place, Refusal, Room
from server.seats import Forecast, Seat, State, Turnover

__all__ = ["Admission", "Due", "Limits", "Place", "Refusal", "Room"]

MAX_DURATION, IDLE = "max_duration", "idle"
"""Why a session ends that somebody is in: it lasted as long as one may; nobody had said anything for long."""

WARN_SECONDS = 60.0
"""How long before its end a session is told that it ends."""

RETRY_SECONDS = 30.0
"""What is said to who asks again when nothing better is known; never more than RETRY_MOST."""

RETRY_MOST = 600.0

_ANY = Room()


class Admission:
    """Seats for at most `max_sessions` awake sessions, and a line of those who wait for one: first come, first served.
    The caller does what `turn` and `due` say and reports it back. limits may be replaced at any time; a seat that is
    taken, or a place in the line, is not lost by it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._seats: dict[str, Seat] = {}
        self._line: list[str] = []
        self._turnover = Turnover()

    # -- counting -----------------------------------------------------------------------------------------------

    @property
    def awake(self) -> int:
        return sum(seat.state == "awake" for seat in self._seats.values())

    @property
    def line(self) -> tuple[str, ...]:
        """The sessions that wait, the next one first."""
        return tuple(self._line)

    def state(self, session_id: str) -> State | None:
        seat = self._seats.get(session_id)
        return seat.state if seat else None

    def present(self, session_id: str) -> int:
        seat = self._seats.get(session_id)
        return seat.present if seat else 0

    def place(self, session_id: str, now: float) -> Place | None:
        """None: it does not wait."""
        if self.state(session_id) != "waiting":
            return None
        position = self._line.index(session_id) + 1
        return Place(position, self._estimate(position, now))

    def places(self, now: float) -> list[tuple[str, Place]]:
        """Of everybody in the line, the next one first."""
        forecast, ahead = self._forecast(now)
        return [
            (session_id, Place(position, forecast.at(ahead + position)))
            for position, session_id in enumerate(self._line, 1)
        ]

    # -- coming -------------------------------------------------------------------------------------------------

    def admit(self, session_id: str, now: float, room: Room = _ANY) -> Refusal | None:
        """A new session, awake from the start. None: it has its seat."""
        refusal = self._record_room(now) or self.refusal(now, room)
        if refusal is None:
            self._seats[session_id] = seat = Seat(created=now, empty_since=now)
            seat.wake(now)
        return refusal

    def wake(self, session_id: str, now: float, room: Room = _ANY) -> Refusal | None:
        """Somebody wants a session that may sleep (not one that waits). None: it may be, or is, awake."""
        seat = self._seats[session_id]
        if seat.state != "awake":
            refusal = self.refusal(now, room)
            if refusal is not None:
                return refusal
            seat.wake(now)
        if seat.present == 0 and seat.joined:
            seat.empty_since = now
        return None

    def wait(self, session_id: str, now: float) -> Refusal | None:
        """A new session, or one that sleeps, goes to the end of the line. None: it waits."""
        if len(self._line) >= self.limits.max_waiting:
            return Refusal("the waiting line is full, too", self._retry(len(self._line) + 1, now), "line")
        seat = self._seats.get(session_id)
        if seat is None:
            refusal = self._record_room(now)
            if refusal is not None:
                return refusal
            self._seats[session_id] = seat = Seat(created=now, empty_since=now)
        seat.state = "waiting"
        seat.waits_since = now
        self._line.append(session_id)
        return None

    def turn(self, now: float, room: Room = _ANY) -> str | None:
        """Whose turn it is: it has left the line and has a seat, awake from now on. None: nobody, or no room."""
        if not self._line or self._no_room(now, room) is not None:
            return None
        session_id = self._line.pop(0)
        seat = self._seats[session_id]
        if seat.present == 0:
            seat.empty_since = now
            seat.joined = seat.started is not None  # the student of a new one has a while to connect
        seat.wake(now)
        return session_id

    def refusal(self, now: float, room: Room = _ANY) -> Refusal | None:
        """Why a session that comes now cannot start. None: it can. Who waits comes first."""
        refusal = self._no_room(now, room)
        if refusal is None and self._line:
            refusal = Refusal("others wait for a seat already", self._retry(len(self._line) + 1, now))
        return refusal

    # -- being there --------------------------------------------------------------------------------------------

    def enter(self, session_id: str, now: float) -> None:
        """A viewer or a WebSocket is there."""
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.present += 1
            if not seat.joined:
                seat.active_at = now
            seat.joined = True

    def leave(self, session_id: str, now: float) -> None:
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.present = max(0, seat.present - 1)
            if seat.present == 0:
                seat.empty_since = now

    def follow(self, session_id: str, now: float) -> None:
        """Somebody reads its events: that keeps a place in the line, but no session awake."""
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.followers += 1

    def unfollow(self, session_id: str, now: float) -> None:
        seat = self._seats.get(session_id)
        if seat is not None:
            seat.followers = max(0, seat.followers - 1)
            seat.unfollowed_at = now

    def touch(self, session_id: str, now: float, *, busy: bool | None = None) -> bool:
        """Somebody asked, said or spoke. busy: that goes on until it is told otherwise; None: as before.

        True: `due` and `next_due` have news: silence begins, or the end that was told for it is to be taken back.
        """
        seat = self._seats.get(session_id)
        if seat is None:
            return False
        silence = seat.busy and busy is False
        seat.active_at = now
        if busy is not None:
            seat.busy = busy
        return silence or IDLE in seat.told

    # -- going --------------------------------------------------------------------------------------------------

    def slept(self, session_id: str, now: float) -> None:
        """It sleeps (its seat, or its place in the line, is free)."""
        seat = self._seats.get(session_id)
        if seat is not None:
            self._free(session_id, seat, now)
            seat.state = "asleep"
            seat.busy = False
            seat.told.pop(IDLE, None)

    def release(self, session_id: str, now: float) -> None:
        seat = self._seats.pop(session_id, None)
        if seat is not None:
            self._free(session_id, seat, now)

    def remaining(self, session_id: str, now: float) -> float:
        """Seconds until the session ends if nobody is there, or says anything, from now on."""
        seat = self._seats.get(session_id)
        if seat is None:
            return 0.0
        if seat.state == "waiting":
            return self.limits.first if seat.kept else max(0.0, self._place_lapses(seat) - now)
        end = now + self.limits.timeout if seat.present else seat.empty_since + self._patience(seat)
        return max(0.0, min([end, *self._ends(seat).values()]) - now)

    def warned(self, due: Due) -> None:
        """What `due` asked to be told was told."""
        seat = self._seats.get(due.session_id)
        if seat is None:
            return
        if due.action == "warn":
            seat.told[due.reason] = due.at
        else:
            seat.told.pop(due.reason, None)

    def due(self, now: float) -> list[Due]:
        """What has to be done now; the same answer again until it is done."""
        return [due for session_id, seat in self._seats.items() for due in self._due(session_id, seat, now)]

    def next_due(self) -> float | None:
        """When `due` may have something next, in the clock of `now`; None: nothing is waited for."""
        return min((at for seat in self._seats.values() for at in self._times(seat)), default=None)

    # -- inside -------------------------------------------------------------------------------------------------

    def _due(self, session_id: str, seat: Seat, now: float) -> Iterator[Due]:
        if seat.state == "waiting":
            if not seat.kept and now >= self._place_lapses(seat):
                yield Due(session_id, "sleep" if seat.started is not None else "end", "left_line")
            return
        ends = self._ends(seat)
        for ending, end in ends.items():
            if now >= end:
                yield Due(session_id, "end", ending)
                return
        if not seat.present:
            absent = now - seat.empty_since
            if absent >= self._patience(seat):
                yield Due(session_id, "end", "timeout" if seat.joined else "never_joined")
                return
            if seat.state == "awake" and seat.joined and absent >= self.limits.leave:
                yield Due(session_id, "sleep", "left")
        for ending in (MAX_DURATION, IDLE):
            at, told = ends.get(ending), seat.told.get(ending)
            if at is not None and at != told and now >= at - self._notice(ending):
                yield Due(session_id, "warn", ending, at)
            elif told is not None and at != told:
                yield Due(session_id, "relent", ending)

    def _times(self, seat: Seat) -> Iterator[float]:
        if seat.state == "waiting":
            if not seat.kept:
                yield self._place_lapses(seat)
            return
        for ending, at in self._ends(seat).items():
            yield at if ending in seat.told else at - self._notice(ending)
        if not seat.present:
            yield seat.empty_since + self._patience(seat)
            if seat.state == "awake" and seat.joined:
                yield seat.empty_since + self.limits.leave

    def _ends(self, seat: Seat) -> dict[str, float]:
        """When it ends though somebody is there."""
        ends: dict[str, float] = {}
        if self.limits.max_seconds and seat.started is not None:
            ends[MAX_DURATION] = seat.started + self.limits.max_seconds
        if self.limits.idle and seat.state == "awake" and seat.present and not seat.busy:
            ends[IDLE] = seat.active_at + self.limits.idle
        return ends

    def _notice(self, ending: str) -> float:
        """A session that may be idle only for a short while is not warned from the start."""
        return WARN_SECONDS if ending == MAX_DURATION else min(WARN_SECONDS, self.limits.idle / 2)

    def _patience(self, seat: Seat) -> float:
        return self.limits.timeout if seat.joined else self.limits.first

    def _place_lapses(self, seat: Seat) -> float:
        return max(seat.waits_since, seat.empty_since, seat.unfollowed_at) + self.limits.first

    def _record_room(self, now: float) -> Refusal | None:
        if len(self._seats) < self.limits.max_records:
            return None
        return Refusal("too many sessions wait for their students", self._retry(1, now), "records")

    def _no_room(self, now: float, room: Room) -> Refusal | None:
        awake, retry = self.awake, self._retry(len(self._line) + 1, now)
        if awake >= self.limits.max_sessions:
            return Refusal("every seat is taken", retry)
        if room.capacity is not None:
            most = max(room.capacity, int(room.capacity / self.limits.speaking_share))
            if awake >= most or room.speaking >= room.capacity:
                return Refusal("the lip-sync engine serves as many as it can", retry, "engine")
        return room.overload

    def _free(self, session_id: str, seat: Seat, now: float) -> None:
        if seat.state == "awake":
            self._turnover.add(now - seat.awake_since)
        elif seat.state == "waiting" and session_id in self._line:
            self._line.remove(session_id)

    def _retry(self, position: int, now: float) -> float:
        estimate = self._estimate(position, now)
        return RETRY_SECONDS if estimate is None else min(RETRY_MOST, max(1.0, estimate))

    def _estimate(self, position: int, now: float) -> float | None:
        """Seconds until that many who wait have a seat."""
        forecast, ahead = self._forecast(now)
        return forecast.at(ahead + position)

    def _forecast(self, now: float) -> tuple[Forecast, int]:
        """And how many seats more than are allowed now have to come free before one is given away."""
        awake = [seat for seat in self._seats.values() if seat.state == "awake"]
        known = [(seat.awake_since, self._known_end(seat, now)) for seat in awake]
        return self._turnover.forecast(known, now), max(0, len(awake) - self.limits.max_sessions)

    def _known_end(self, seat: Seat, now: float) -> float | None:
        """When its seat comes free, as far as that can be seen; a limit that is far off tells nothing."""
        times = [at for at in self._ends(seat).values() if at - now <= WARN_SECONDS]
        if not seat.present:
            times.append(seat.empty_since + (self.limits.leave if seat.joined else self.limits.first))
        return min(times, default=None)
