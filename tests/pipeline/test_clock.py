from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pipeline.clock import HALF_TICK, TOLERANCE, MediaClock


def test_times_are_those_of_the_grid_however_unpunctual_the_driver() -> None:
    clock = MediaClock(1000.0)
    chance = random.Random(1)
    times = []
    for _ in range(500):
        now = clock.due + chance.uniform(0, TOLERANCE * 0.9)
        times.append(clock.take(now))
    assert times == pytest.approx([index * HALF_TICK for index in range(500)])
    assert clock.jumps == 0


def test_no_drift_creeps_in_over_an_hour() -> None:
    clock = MediaClock(5.0)
    now = 5.0
    for _ in range(180_000):
        now = max(now + 0.0001, clock.due) + 0.002  # always 2 ms late
        last = clock.take(now)
    assert now - 5.0 - last < 0.003


def test_after_a_stall_times_jump_to_now_and_nothing_goes_out_in_a_burst() -> None:
    clock = MediaClock(0.0)
    for _ in range(50):
        clock.take(clock.due)
    now = clock.due + 1.0
    sent = []
    while now < 3.0:
        if clock.due <= now:
            sent.append((now, clock.take(now)))
        now += 0.001
    assert all(now - time < HALF_TICK + 0.002 for now, time in sent), "each as fresh as if there had been no stall"
    gaps = [after[0] - before[0] for before, after in pairwise(sent)]
    assert gaps[0] <= HALF_TICK + 0.001
    assert min(gaps[1:]) >= HALF_TICK - 0.002
    assert clock.jumps == 1


def test_times_never_repeat_or_go_back() -> None:
    clock = MediaClock(0.0)
    chance = random.Random(2)
    times = []
    for _ in range(1000):
        times.append(clock.take(clock.due + chance.choice([0.0, 0.01, 0.039, 0.04, 0.05, 0.3])))
    assert all(after > before for before, after in pairwise(times))
