from __future__ import annotations

from server.rtc.heartbeat import Heartbeat


def beat(start: float = 100.0) -> Heartbeat:
    return Heartbeat(start, connect=9, silence=7)


def looks(heart: Heartbeat, begin: float, end: float, step: float = 0.5) -> float | None:
    """When a look every half second first ends the viewer."""
    now = begin
    while now <= end:
        if heart.look(now):
            return now
        now += step
    return None


def test_a_viewer_that_never_connects_goes_after_its_time() -> None:
    heart = beat()
    assert looks(heart, 100, 108.5) is None
    assert heart.look(109) == "never_connected"


def test_words_before_the_handshake_do_not_prolong_it() -> None:
    heart = beat()
    looks(heart, 100, 105)
    heart.heard(105)
    looks(heart, 105, 108.5)
    assert heart.look(109) == "never_connected"


def test_a_silent_viewer_goes_and_one_that_is_heard_stays() -> None:
    heart = beat()
    heart.connected(101)
    for now in range(101, 160, 5):
        heart.heard(now)
        assert looks(heart, now, now + 4.5) is None
    assert looks(heart, 161, 190) == 163, "seven seconds after the last word, at 156"
    assert heart.look(163.5) == "vanished"


def test_a_stall_of_this_process_is_not_held_against_the_viewer() -> None:
    heart = beat()
    heart.connected(101)
    looks(heart, 101, 103)
    assert heart.look(123) is None, "twenty seconds in which nothing was read"
    assert looks(heart, 123, 127) is None
    assert looks(heart, 127, 140) == 128, "two seconds before the stall and five after it"


def test_a_stall_does_not_put_the_last_word_into_the_future() -> None:
    heart = beat()
    heart.connected(101)
    heart.look(101)
    heart.heard(130)
    heart.look(130.5)
    assert heart.silent_for(130.5) == 0
