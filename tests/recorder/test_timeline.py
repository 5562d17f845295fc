"""Where a film's packets are laid."""

from __future__ import annotations

from pipeline.outputs.timeline import Sound, Timeline

P, S = 3600, 960  # a picture in 1/90000 s, 20 ms of sound in 1/48000 s


def test_it_begins_with_a_keyframe_at_zero_and_what_is_older_is_left_out() -> None:
    line = Timeline()
    assert line.picture(10 * P, key=False) is None
    assert line.sound(20 * S) is None
    assert line.picture(11 * P, key=True) == 0
    assert line.sound(21 * S) is None
    assert line.sound(22 * S) == Sound(range(0), 0)
    assert line.picture(12 * P, key=False) == P
    assert line.seconds == 0.08


def test_sound_has_no_hole() -> None:
    line = Timeline()
    line.picture(0, key=True)
    line.sound(0)
    placed = line.sound(5 * S)
    assert placed is not None
    assert (list(placed.silence), placed.at) == ([S, 2 * S, 3 * S, 4 * S], 5 * S)
    assert line.sound(4 * S) is None, "older than what is there"
    assert line.sound(6 * S) == Sound(range(0), 6 * S)
    assert line.seconds == 0.14


def test_sound_that_begins_late_is_preceded_by_silence() -> None:
    line = Timeline()
    line.picture(0, key=True)
    placed = line.sound(3 * S)
    assert placed is not None
    assert list(placed.silence) == [0, S, 2 * S]


def test_another_clock_goes_on_right_behind() -> None:
    line = Timeline()
    line.picture(100 * P, key=True)
    for n in range(4):
        line.sound(200 * S + n * S)
    line.picture(101 * P, key=False)
    line.cut()
    assert line.sound(0) is None
    assert line.picture(0, key=False) is None
    assert line.picture(P, key=True) == 2 * P
    assert line.sound(2 * S) == Sound(range(0), 4 * S)
    assert line.seconds == 0.12


def test_another_clock_leaves_no_hole_in_the_sound_either() -> None:
    line = Timeline()
    line.picture(0, key=True)
    line.sound(0)
    line.cut()
    assert line.picture(50 * P, key=True) == P
    assert line.sound(100 * S) == Sound(range(S, 2 * S, S), 2 * S)


def test_after_a_loss_pictures_wait_for_a_keyframe_and_keep_their_times() -> None:
    line = Timeline()
    line.picture(0, key=True)
    line.lost()
    assert line.picture(5 * P, key=False) is None
    assert line.picture(9 * P, key=True) == 9 * P


def test_times_never_go_back() -> None:
    line = Timeline()
    assert line.picture(10, key=True) == 0
    assert line.picture(10, key=False) == 1
    assert line.picture(5, key=False) == 2
