"""Where a film's packets are laid."""

from __future__ import annotations

from pipeline.outputs.timeline import Sound, Timeline

P, S = 3600, 960  # a picture in 1/90000 s, 20 ms of sound in 1/48000 s


def begun(pts: int = 0) -> Timeline:
    line = Timeline()
    line.begin(pts)
    assert line.picture(pts, key=True) == 0
    return line


def test_it_begins_with_a_keyframe_at_zero_and_what_is_older_is_left_out() -> None:
    line = Timeline()
    assert line.picture(10 * P, key=False) is None
    assert line.sound(20 * S) is None
    line.begin(11 * P)
    assert line.picture(11 * P, key=True) == 0
    assert line.sound(21 * S) is None
    assert line.sound(22 * S) == Sound(range(0), 0)
    line.begin(12 * P)  # a later keyframe begins nothing
    assert line.picture(12 * P, key=True) == P
    assert line.seconds == 0.08


def test_a_short_hole_in_the_sound_is_filled() -> None:
    line = begun()
    line.sound(0)
    placed = line.sound(3 * S)
    assert placed is not None
    assert (list(placed.silence), placed.at) == ([S, 2 * S], 3 * S)
    assert line.sound(2 * S) is None, "older than what is there"
    assert line.sound(4 * S) == Sound(range(0), 4 * S)
    assert line.seconds == 0.1


def test_sound_that_begins_late_is_preceded_by_silence() -> None:
    line = begun()
    placed = line.sound(10 * S)
    assert placed is not None
    assert list(placed.silence) == [n * S for n in range(10)]


def test_what_the_clock_jumped_is_cut_out_of_both() -> None:
    line = begun()
    for n in range(6):
        line.sound(n * S)
    assert line.picture(2 * P, key=False) == 2 * P
    assert line.sound(106 * S) == Sound(range(0), 6 * S)
    assert line.picture(53 * P, key=False) == 3 * P
    assert line.sound(107 * S) == Sound(range(0), 7 * S)
    assert line.picture(54 * P, key=False) == 4 * P
    assert line.sound(207 * S) == Sound(range(0), 8 * S), "and again"
    assert line.picture(105 * P, key=False) == 5 * P + P // 2


def test_pictures_that_left_before_the_jump_and_come_after_it_keep_their_places() -> None:
    line = begun()
    for n in range(6):
        line.sound(n * S)
    line.sound(106 * S)
    assert line.picture(2 * P, key=False) == 2 * P
    assert line.picture(20 * P, key=False) == 3 * P, "sent in a time that is cut out: it stands at the cut"
    assert line.picture(21 * P, key=False) == 3 * P + 1
    assert line.picture(54 * P, key=False) == 4 * P


def test_another_clock_goes_on_right_behind() -> None:
    line = begun(100 * P)
    for n in range(4):
        line.sound(200 * S + n * S)
    line.picture(101 * P, key=False)
    line.cut()
    assert line.sound(0) is None
    assert line.picture(0, key=False) is None
    line.begin(P)
    assert line.picture(P, key=True) == 2 * P
    assert line.sound(2 * S) == Sound(range(0), 4 * S)
    assert line.seconds == 0.12


def test_another_clock_leaves_no_hole_in_the_sound_either() -> None:
    line = begun()
    line.sound(0)
    line.cut()
    line.begin(50 * P)
    assert line.picture(50 * P, key=True) == P
    assert line.sound(100 * S) == Sound(range(S, 2 * S, S), 2 * S)


def test_after_a_loss_pictures_wait_for_a_keyframe() -> None:
    line = begun()
    line.lost()
    assert line.picture(5 * P, key=False) is None
    assert line.picture(9 * P, key=True) == 9 * P


def test_times_never_go_back() -> None:
    line = begun(10)
    assert line.picture(10, key=False) == 1
    assert line.picture(5, key=False) == 2
