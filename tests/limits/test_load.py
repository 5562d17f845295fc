"""When the machine bears no more sessions: faster than real time, and measured on this one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import machine
from server.keys import LOAD_SAMPLER
from server.limits import Limits
from server.load import Load, Sample
from server.machine import Machine
from tests.server.conftest import Serve

LIMITS = Limits(8, 60, 2, 1800, max_cpu=90.0, max_late=0.02)


def fed(load: Load, cpu: list[float], *, start: float = 0.0, limits: Limits = LIMITS, **more: float) -> float:
    """A sample a second; gives the time after the last one."""
    for second, value in enumerate(cpu):
        load.add(Sample(start + second, cpu=value, own=more.pop("own", 20.0), awake=2, **more), limits)
    return start + len(cpu)


def test_a_spike_refuses_nobody() -> None:
    load = Load(cores=8)
    now = fed(load, [30, 30, 30, 100, 100, 30, 30])
    assert load.overload(now, 2, LIMITS) is None


def test_an_overload_is_over_only_when_it_is_well_below_the_limit() -> None:
    load = Load(cores=100)
    now = fed(load, [95] * 6)
    refusal = load.overload(now, 2, LIMITS)
    assert refusal is not None
    assert (refusal.cause, refusal.retry_after) == ("cpu", 10)
    now = fed(load, [85] * 8, start=now)
    assert load.overload(now, 2, LIMITS) is not None, "just below the limit it would soon be over it again"
    now = fed(load, [75] * 8, start=now)
    assert load.overload(now, 2, LIMITS) is None


def test_where_nobody_is_nobody_can_be_harmed() -> None:
    load = Load(cores=2)
    now = fed(load, [100] * 6)
    assert load.overload(now, 0, LIMITS) is None


def test_a_class_that_starts_at_once_gets_no_more_seats_than_the_machine_bears() -> None:
    """Each measured session takes a tenth of the machine: nine fit below 90 %, whenever the samples come."""
    load = Load(cores=2)
    now = fed(load, [20.0] * 6, own=20.0)
    started = 0
    while started < 20 and load.overload(now, 2 + started, LIMITS) is None:
        load.started(now)
        started += 1
    assert started == 7
    now = fed(load, [90.0] * 6, start=now, own=90.0)
    assert load.overload(now, 9, LIMITS) is not None


def test_the_first_sessions_cost_is_assumed() -> None:
    load = Load(cores=2)
    started = 0
    while started < 20 and load.overload(0.0, 1, LIMITS) is None:
        load.started(0.0)
        started += 1
    assert started == 6  # 0.3 core each, of 1.8


def test_late_pictures_let_nobody_in() -> None:
    load = Load(cores=8)
    now = fed(load, [10] * 6, late=0.03)
    refusal = load.overload(now, 2, LIMITS)
    assert refusal is not None
    assert refusal.cause == "late"
    now = fed(load, [10] * 6, start=now, late=0.015)
    assert load.overload(now, 2, LIMITS) is not None
    now = fed(load, [10] * 6, start=now, late=0.001)
    assert load.overload(now, 2, LIMITS) is None
    fed(load, [10] * 6, start=now, skipped=0.2)
    assert load.overload(now + 6, 2, LIMITS) is not None, "pictures that are left out count as well"
    assert load.overload(now + 6, 2, replace(LIMITS, max_late=0)) is not None
    fed(load, [10] * 6, start=now + 6, skipped=0.2, limits=replace(LIMITS, max_late=0))
    assert load.overload(now + 12, 2, replace(LIMITS, max_late=0)) is None, "0: however late"


@given(st.lists(st.floats(0, 100), min_size=0, max_size=30), st.integers(0, 12))
def test_no_limit_no_refusal(cpu: list[float], started: int) -> None:
    load = Load(cores=2)
    limits = replace(LIMITS, max_cpu=100.0, max_late=0.0)
    now = fed(load, cpu, limits=limits, late=1.0, skipped=1.0)
    for _ in range(started):
        load.started(now)
    assert load.overload(now, 5, limits) is None


# -- the machine --------------------------------------------------------------------------------------------------


def test_work_of_this_process_is_seen() -> None:
    """However little of the machine it gets: 0.3 s of work are 30 of the kernel's ticks."""
    began = time.monotonic()  # before it: what passes in between makes the share smaller
    measured = Machine()
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        pass
    busy, own = measured.read()
    share = 100 * 0.3 / (time.monotonic() - began) / measured.cores
    assert 0.5 * share < own <= 100
    assert 0.5 * share < busy <= 100


def test_reading_it_is_cheap_enough_for_the_event_loop() -> None:
    measured = Machine()
    began = time.thread_time()
    for _ in range(50):
        measured.read()
    assert (time.thread_time() - began) / 50 < 0.01


def test_the_quota_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a core is allowed: what is far from filling the machine fills that."""
    group = tmp_path / "unit"
    group.mkdir()
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 1000000\nuser_usec 1\n")
    monkeypatch.setattr(machine, "_group", lambda root: root / "unit")
    measured = Machine(tmp_path)
    assert measured.cores == 0.5
    threading.Event().wait(0.1)
    (group / "cpu.stat").write_text("usage_usec 61000000\nuser_usec 1\n")
    assert measured.read()[0] == 100.0
    (group / "cpu.max").write_text("max 100000\n")
    assert Machine(tmp_path).cores >= 1


async def test_the_sampler_counts_the_session_that_fares_worst(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    await server.session()
    await server.session()
    sampler = server.app[LOAD_SAMPLER]
    taken: list[Sample] = []
    monkeypatch.setattr(sampler._load, "add", lambda sample, limits: taken.append(sample))
    late, skips = server.lives
    good = late.stats()
    monkeypatch.setattr(late, "stats", lambda: replace(good, release_late_ms=30.0, pictures=100))
    monkeypatch.setattr(skips, "stats", lambda: replace(good, release_late_ms=1.0, pictures=90, pictures_skipped=10))
    sampler.sample(1.0)
    sampler.sample(2.0)
    monkeypatch.setattr(skips, "stats", lambda: replace(good, pictures=100, pictures_skipped=20))
    sampler.sample(3.0)
    assert [(each.late, each.skipped, each.awake) for each in taken[-3:]] == [
        (0.03, 0.1, 2),
        (0.03, 0.0, 2),
        (0.03, 0.5, 2),
    ]

    def broken() -> None:
        raise RuntimeError("no figures")

    monkeypatch.setattr(late, "stats", broken)
    sampler.sample(4.0)
    assert taken[-1].late == 0.0


async def test_how_full_it_is_can_be_asked(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    assert server.sessions.occupancy().refused is None
    await server.session()
    found = server.sessions.occupancy()
    assert (found.awake, found.waiting, found.speaking, found.refused) == (1, 0, 0, "seats")
    server.sessions.refuse_new("draining", "Go.")
    assert server.sessions.occupancy().refused == "draining"
