"""The waiting line and the ends of sessions, faster than real time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.admission import Admission, Due, Limits, Refusal, Room
from server.limits import Place

LIMITS = Limits(max_sessions=2, first=60, leave=2, timeout=1800, max_waiting=3)
BUSY = Room(overload=Refusal("the server is as busy as it may be", 10, "cpu"))


def full(limits: Limits = LIMITS, connected: bool = True) -> Admission:
    """Two sessions, "a" and "b", whose students are there."""
    seats = Admission(limits)
    for name in ("a", "b"):
        assert seats.admit(name, 0) is None
        if connected:
            seats.enter(name, 0)
    return seats


# -- the line -----------------------------------------------------------------------------------------------------


def test_a_free_seat_goes_to_the_head_and_never_to_a_newcomer() -> None:
    seats = full()
    assert seats.turn(1) is None
    for name in ("c", "d"):
        assert isinstance(seats.admit(name, 1), Refusal)
        assert seats.wait(name, 1) is None
    seats.release("a", 10)
    newcomer = seats.admit("e", 10)
    assert isinstance(newcomer, Refusal), "a seat is free, but others came before"
    assert seats.turn(10) == "c"
    assert seats.turn(10) is None
    assert seats.line == ("d",)
    assert seats.state("c") == "awake"


def test_positions_close_up_when_somebody_leaves() -> None:
    seats = full()
    for name in ("c", "d", "e"):
        seats.wait(name, 1)
    seats.release("d", 2)
    assert [seats.place(name, 2).position for name in ("c", "e")] == [1, 2]  # type: ignore[union-attr]
    assert seats.place("d", 2) is None
    assert seats.place("a", 2) is None


def test_the_line_is_bounded() -> None:
    seats = full()
    for name in ("c", "d", "e"):
        assert seats.wait(name, 1) is None
    refusal = seats.wait("f", 1)
    assert isinstance(refusal, Refusal)
    assert refusal.cause == "line"
    assert seats.state("f") is None
    assert isinstance(Admission(replace(LIMITS, max_waiting=0)).wait("a", 0), Refusal), "there is no line"


def test_who_waits_and_is_not_connected_leaves_the_line() -> None:
    seats = full()
    seats.wait("c", 10)
    seats.wait("d", 10)
    seats.enter("c", 20)
    assert seats.due(69) == []
    assert seats.next_due() == 70
    assert seats.due(70) == [Due("d", "end", "left_line")]
    seats.release("d", 70)
    seats.leave("c", 100)
    assert seats.due(159) == []
    assert seats.due(160) == [Due("c", "end", "left_line")]


def test_reading_the_events_keeps_a_place_but_no_session() -> None:
    seats = full()
    seats.wait("c", 10)
    seats.follow("c", 20)
    assert seats.due(1000) == []
    seats.release("a", 1000)
    assert seats.turn(1000) == "c"
    assert seats.due(1059) == [], "its student has a while to connect"
    assert seats.due(1060) == [Due("c", "end", "never_joined")]


def test_a_place_is_kept_for_a_while_when_the_reader_goes() -> None:
    seats = full()
    seats.wait("c", 0)
    seats.follow("c", 0)
    seats.unfollow("c", 500)
    assert seats.due(559) == []
    assert seats.due(560) == [Due("c", "end", "left_line")]


def test_one_that_slept_waits_like_everybody_and_sleeps_on_when_its_student_goes() -> None:
    seats = full()
    seats.leave("a", 5)
    seats.slept("a", 7)
    assert seats.admit("c", 8) is None
    seats.enter("c", 8)
    assert isinstance(seats.wake("a", 9), Refusal)
    assert seats.wait("a", 9) is None
    assert seats.wait("d", 9) is None
    assert seats.due(69) == [Due("a", "sleep", "left_line"), Due("d", "end", "left_line")]
    seats.slept("a", 69)
    assert (seats.state("a"), seats.line) == ("asleep", ("d",))
    assert seats.due(70) == [Due("d", "end", "left_line")]


def test_nobody_gets_a_seat_while_the_machine_is_too_busy() -> None:
    seats = Admission(LIMITS)
    assert seats.admit("a", 0) is None
    refusal = seats.admit("b", 0, BUSY)
    assert isinstance(refusal, Refusal)
    assert refusal.cause == "cpu"
    seats.wait("b", 0)
    assert seats.turn(0, BUSY) is None
    assert seats.wake("a", 0, BUSY) is None, "it is awake already"
    assert seats.turn(1) == "b"


def test_speaking_sessions_are_bounded_by_what_the_renderer_can_draw() -> None:
    seats = Admission(replace(LIMITS, max_sessions=100, speaking_share=0.5))
    names = iter("abcdefgh")
    for _ in range(4):  # two may speak at once: four may be there
        assert seats.admit(next(names), 0, Room(capacity=2, speaking=1)) is None
    refusal = seats.admit("x", 0, Room(capacity=2, speaking=1))
    assert isinstance(refusal, Refusal)
    assert refusal.cause == "engine"
    seats.release("a", 0)
    assert isinstance(seats.admit("x", 0, Room(capacity=2, speaking=2)), Refusal), "both speak just now"
    assert seats.admit("x", 0, Room(capacity=2, speaking=1)) is None


def test_smaller_limits_take_nobodys_seat() -> None:
    seats = full()
    seats.wait("c", 0)
    seats.wait("d", 0)
    seats.limits = replace(LIMITS, max_sessions=1, max_waiting=1)
    assert (seats.awake, seats.line) == (2, ("c", "d"))
    seats.release("a", 1)
    assert seats.turn(1) is None
    seats.limits = replace(LIMITS, max_sessions=3)
    assert [seats.turn(1), seats.turn(1)] == ["c", "d"]


# -- guesses ------------------------------------------------------------------------------------------------------


def test_how_long_to_wait_is_told_from_how_long_seats_are_held() -> None:
    seats = full()
    seats.wait("c", 0)
    assert seats.place("c", 0) == Place(1, None), "nothing is known yet"
    seats.release("a", 300)  # held for 300 s
    assert seats.turn(300) == "c"
    seats.enter("c", 300)
    for name in ("d", "e", "f"):
        seats.wait(name, 310)
    # "b" is held for 310 s already: a tenth of the mean is left; "c" for 10 s: 290 are left; then "b"'s next one.
    assert [seats.place(name, 310) for name in ("d", "e", "f")] == [Place(1, 30), Place(2, 290), Place(3, 330)]
    refusal = seats.refusal(310)
    assert refusal is not None
    assert refusal.retry_after == 590, "behind those who wait"


def test_an_end_that_is_near_counts_before_a_guess() -> None:
    seats = full(replace(LIMITS, max_seconds=100))
    seats.wait("c", 30)
    assert seats.place("c", 30) == Place(1, None), "most go long before they have to"
    assert seats.place("c", 40) == Place(1, 60)
    seats.leave("a", 50)
    assert seats.place("c", 51) == Place(1, 1)


# -- ends of sessions whose students are there ----------------------------------------------------------------------


def test_a_session_lasts_so_long_and_is_warned_a_minute_before() -> None:
    seats = full(replace(LIMITS, max_seconds=600))
    assert seats.due(539) == []
    assert seats.next_due() == 540
    warning = Due("a", "warn", "max_duration", 600)
    assert warning in seats.due(540)
    seats.warned(warning)
    assert seats.due(599) == [Due("b", "warn", "max_duration", 600)]
    assert seats.due(600) == [Due("a", "end", "max_duration"), Due("b", "end", "max_duration")]
    assert seats.remaining("a", 590) == 10


def test_a_session_that_lasts_less_than_a_minute_is_warned_at_once() -> None:
    seats = full(replace(LIMITS, max_seconds=30))
    assert seats.due(0)[0] == Due("a", "warn", "max_duration", 30)


def test_waiting_takes_nothing_of_the_time() -> None:
    seats = full(replace(LIMITS, max_seconds=600))
    seats.wait("c", 10)
    seats.enter("c", 10)
    seats.release("a", 500)
    assert seats.turn(500) == "c"
    assert [due for due in seats.due(1039) if due.session_id == "c"] == []
    assert Due("c", "end", "max_duration") in seats.due(1100)


def test_talk_puts_the_idle_end_off() -> None:
    seats = full(replace(LIMITS, idle=300))
    warning = Due("a", "warn", "idle", 300)
    assert warning in seats.due(240)
    seats.warned(warning)
    assert seats.touch("a", 250) is True
    assert Due("a", "relent", "idle") in seats.due(250)
    seats.warned(Due("a", "relent", "idle"))
    assert [due for due in seats.due(489) if due.session_id == "a"] == []
    assert seats.touch("a", 400, busy=True) is False
    assert [due for due in seats.due(5000) if due.session_id == "a"] == [], "a long recording is spoken"
    assert seats.touch("a", 6000, busy=False) is True
    assert Due("a", "end", "idle") in seats.due(6300)


def test_a_short_idle_time_is_not_warned_of_from_the_start() -> None:
    seats = full(replace(LIMITS, idle=20))
    assert seats.due(9) == []
    assert seats.due(10)[0] == Due("a", "warn", "idle", 20)


def test_an_empty_session_is_left_not_idle() -> None:
    seats = full(replace(LIMITS, idle=300))
    seats.leave("a", 299)
    assert seats.due(300)[0] == Due("b", "end", "idle")
    assert seats.due(301)[0] == Due("a", "sleep", "left")


@pytest.mark.parametrize(("later", "told"), [(660, "warn"), (6000, "relent")])
def test_a_limit_that_changes_after_the_warning_is_told_again(later: float, told: str) -> None:
    seats = full(replace(LIMITS, max_seconds=600))
    seats.warned(Due("a", "warn", "max_duration", 600))
    seats.limits = replace(LIMITS, max_seconds=later)
    assert [due.action for due in seats.due(601) if due.session_id == "a"] == [told]


# -- everything at once ---------------------------------------------------------------------------------------------


class Comings(RuleBasedStateMachine):
    """Students come, connect, wait, go and come back; limits and the machine's load change. A model of the line beside
    the real one: a list of names in the order in which they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seats = Admission(replace(LIMITS, max_sessions=3, max_waiting=4, max_seconds=5000, idle=900))
        self.now = 0.0
        self.line: list[str] = []
        self.awake: set[str] = set()
        self.asleep: set[str] = set()
        self.there: dict[str, int] = {}
        self.count = 0
        self.overloaded = False

    @property
    def room(self) -> Room:
        return BUSY if self.overloaded else Room()

    def serve(self) -> None:
        """As the watch does after every change."""
        while (name := self.seats.turn(self.now, self.room)) is not None:
            assert name == self.line.pop(0), "first come, first served"
            assert len(self.awake) < self.seats.limits.max_sessions
            assert not self.overloaded
            self.awake.add(name)

    def gone(self, name: str) -> None:
        self.awake.discard(name)
        self.asleep.discard(name)
        if name in self.line:
            self.line.remove(name)

    @rule(wait=st.booleans(), connect=st.booleans())
    def comes(self, wait: bool, connect: bool) -> None:
        name = f"s{self.count}"
        self.count += 1
        refusal = self.seats.admit(name, self.now, self.room)
        if refusal is None:
            assert not self.line, "nobody overtakes who waits"
            self.awake.add(name)
        elif wait:
            if self.seats.wait(name, self.now) is None:
                self.line.append(name)
            else:
                assert len(self.line) >= self.seats.limits.max_waiting
                return
        else:
            return
        self.there[name] = 0
        if connect:
            self.connects(name)
        self.serve()

    def connects(self, name: str) -> None:
        self.seats.enter(name, self.now)
        self.there[name] += 1

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def somebody_connects(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        if name in self.asleep:
            if self.seats.wake(name, self.now, self.room) is not None:
                if self.seats.wait(name, self.now) is not None:
                    return
                self.asleep.discard(name)
                self.line.append(name)
            else:
                assert not self.line
                self.asleep.discard(name)
                self.awake.add(name)
        self.connects(name)
        self.serve()

    @precondition(lambda self: any(self.there.values()))
    @rule(data=st.data())
    def somebody_goes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, count in self.there.items() if count)))
        self.seats.leave(name, self.now)
        self.there[name] -= 1

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def one_is_deleted(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        self.seats.release(name, self.now)
        del self.there[name]
        self.gone(name)
        self.serve()

    @precondition(lambda self: self.awake)
    @rule(data=st.data(), busy=st.booleans())
    def somebody_talks(self, data: st.DataObject, busy: bool) -> None:
        self.seats.touch(data.draw(st.sampled_from(sorted(self.awake))), self.now, busy=busy)

    @rule(seats=st.integers(1, 4))
    def limits_change(self, seats: int) -> None:
        self.seats.limits = replace(self.seats.limits, max_sessions=seats)
        self.serve()

    @rule(busy=st.booleans())
    def load_changes(self, busy: bool) -> None:
        self.overloaded = busy
        self.serve()

    @rule(seconds=st.sampled_from([1, 30, 61, 400, 2000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.act()
        self.serve()

    def act(self) -> None:
        for due in self.seats.due(self.now):
            name = due.session_id
            if due.action in ("warn", "relent"):
                self.seats.warned(due)
                continue
            if due.reason in ("left", "timeout", "never_joined", "left_line"):
                assert self.there[name] == 0, "nobody is sent away who is there"
            if due.action == "sleep":
                self.seats.slept(name, self.now)
                self.gone(name)
                self.asleep.add(name)
            else:
                self.seats.release(name, self.now)
                del self.there[name]
                self.gone(name)

    @invariant()
    def the_line_is_the_line(self) -> None:
        assert list(self.seats.line) == self.line
        places = [self.seats.place(name, self.now) for name in self.line]
        assert list(zip(self.line, places, strict=True)) == self.seats.places(self.now)
        assert [place.position for place in places if place] == list(range(1, len(self.line) + 1))
        assert all(place.estimate is None or place.estimate >= 0 for place in places if place)

    @invariant()
    def no_seat_is_lost_or_made(self) -> None:
        assert self.seats.awake == len(self.awake)
        assert {name: self.seats.state(name) for name in self.there} == {
            **dict.fromkeys(self.awake, "awake"),
            **dict.fromkeys(self.asleep, "asleep"),
            **dict.fromkeys(self.line, "waiting"),
        }

    @invariant()
    def nobody_waits_beside_a_free_seat(self) -> None:
        if self.line and not self.overloaded:
            assert len(self.awake) >= self.seats.limits.max_sessions

    def teardown(self) -> None:
        """Whoever waits is let in as the others go; then all go, and nothing is left."""
        self.overloaded = False
        for name in self.line:
            self.connects(name)
        waiting = list(self.line)
        self.serve()
        for _ in range(len(self.awake) + len(waiting) + 4):
            for name in sorted(self.awake)[:1]:
                self.seats.release(name, self.now)
                del self.there[name]
                self.awake.discard(name)
            self.serve()
        assert self.line == []
        for name, count in self.there.items():
            for _ in range(count):
                self.seats.leave(name, self.now)
            self.there[name] = 0
        self.now += 1e6
        self.act()
        self.act()
        assert self.there == {}
        assert self.seats.awake == 0
        assert self.seats.next_due() is None


TestComings = Comings.TestCase
TestComings.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
