"""Seats and their ends, faster than real time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.admission import Admission, Due, Limits, Refusal

LIMITS = Limits(max_sessions=2, first=60, leave=2, timeout=1800, max_records=4)


def test_seats_are_counted() -> None:
    seats = Admission(LIMITS)
    assert seats.admit("a", 0) is None
    assert seats.admit("b", 10) is None
    refusal = seats.admit("c", 20)
    assert refusal == Refusal("every seat is taken", 40)  # "a" ends at 60 if nobody comes
    seats.release("a", 20)
    assert seats.admit("c", 20) is None


def test_nobody_comes() -> None:
    seats = Admission(LIMITS)
    seats.admit("a", 0)
    assert seats.due(59.9) == []
    assert seats.next_due() == 60
    assert seats.due(60) == [Due("a", "end", "never_joined")]


def test_all_leave_and_one_comes_back() -> None:
    seats = Admission(LIMITS)
    seats.admit("a", 0)
    seats.enter("a", 1)
    seats.enter("a", 1)
    seats.leave("a", 100)
    assert seats.due(5000) == []  # one is still there
    assert seats.next_due() is None
    seats.leave("a", 5000)
    assert seats.due(5001.9) == []
    assert seats.due(5002) == [Due("a", "sleep", "left")]
    seats.slept("a", 5002)
    assert seats.due(5002) == []
    assert seats.awake == 0
    assert seats.next_due() == 6800
    assert seats.wake("a", 6000) is None
    seats.enter("a", 6001)
    assert seats.due(99_999) == []
    seats.leave("a", 100_000)
    seats.slept("a", 100_000)
    assert seats.due(101_800) == [Due("a", "end", "timeout")]


def test_a_sleeper_needs_a_seat_to_wake() -> None:
    seats = Admission(LIMITS)
    seats.admit("a", 0)
    seats.enter("a", 0)
    seats.leave("a", 1)
    seats.slept("a", 1)
    seats.admit("b", 3)
    seats.admit("c", 3)
    assert isinstance(seats.wake("a", 4), Refusal)
    seats.release("b", 4)
    assert seats.wake("a", 5) is None
    assert seats.awake == 2


def test_records_are_bounded_too() -> None:
    seats = Admission(LIMITS)
    for number in range(4):
        name = str(number)
        assert seats.admit(name, 0) is None
        seats.enter(name, 0)
        seats.leave(name, 0)
        seats.slept(name, 0)
    assert isinstance(seats.admit("more", 1), Refusal)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["admit", "enter", "leave", "act"]), st.integers(0, 5), st.integers(0, 900))))
def test_never_more_awake_than_seats_and_nothing_stays_for_ever(steps: list[tuple[str, int, int]]) -> None:
    seats = Admission(LIMITS)
    known: dict[str, int] = {}
    now = 0.0

    def act() -> None:
        for due in seats.due(now):
            assert known[due.session_id] == 0  # nobody is sent away who is there
            if due.action == "sleep":
                seats.slept(due.session_id, now)
            else:
                seats.release(due.session_id, now)
                del known[due.session_id]

    for action, which, pause in steps:
        now += pause
        name = str(which)
        if action == "admit" and name not in known:
            if seats.admit(name, now) is None:
                known[name] = 0
        elif action == "enter" and name in known:
            if seats.wake(name, now) is None:
                seats.enter(name, now)
                known[name] += 1
        elif action == "leave" and known.get(name):
            seats.leave(name, now)
            known[name] -= 1
        else:
            act()
        assert seats.awake <= LIMITS.max_sessions
    for name, present in list(known.items()):
        for _ in range(present):
            seats.leave(name, now)
        known[name] = 0
    now += LIMITS.timeout + LIMITS.leave
    act()
    act()
    assert known == {}
    assert seats.awake == 0
    assert seats.next_due() is None
