"""The event loop's own time: measured on a loop, and what its limit lets in."""

from __future__ import annotations

import asyncio
import time

from server.limits import Limits
from server.load import Load, Sample
from server.loop_meter import LoopMeter, MeteredLoop, MeteredSelector, meter

LIMITS = Limits(64, 60, 2, 1800, max_cpu=90.0, max_loop=80.0)


def fed(load: Load, loop: list[float], awake: int, *, start: float = 0.0) -> float:
    """A sample a second of a machine with many free cores; gives the time after the last one."""
    for second, value in enumerate(loop):
        load.add(Sample(start + second, cpu=20.0, own=20.0, awake=awake, loop=value), LIMITS)
    return start + len(loop)


def test_a_full_loop_lets_nobody_in_though_cores_are_free() -> None:
    load = Load(cores=16)
    now = fed(load, [90.0] * 6, 12)
    refusal = load.overload(now, 12, LIMITS)
    assert refusal is not None
    assert refusal.cause == "loop"
    now = fed(load, [75.0] * 8, 12, start=now)
    assert load.overload(now, 12, LIMITS) is not None, "just below the limit it would soon be over it again"
    now = fed(load, [50.0] * 8, 12, start=now)
    assert load.overload(now, 12, LIMITS) is None


def test_sessions_that_come_at_once_are_counted_before_they_show() -> None:
    """12 sessions take 60 %, thus 5 % each: four more fit below 80 %, if at once or not."""
    load = Load(cores=16)
    now = fed(load, [60.0] * 6, 12)
    started = 0
    while started < 20 and load.overload(now, 12 + started, LIMITS) is None:
        load.started(now)
        started += 1
    assert started == 4


def test_an_empty_server_takes_a_class_that_comes_at_once_by_what_a_session_is_thought_to_take() -> None:
    load = Load(cores=64)
    started = 0
    while started < 99 and load.overload(0.0, 1, LIMITS) is None:
        load.started(0.0)
        started += 1
    assert started == 13


def test_waiting_is_not_work() -> None:
    now = [0.0]
    selector = MeteredSelector()
    measured = LoopMeter(selector, lambda: now[0])
    now[0], selector.idle = 10.0, 7.5
    assert measured.busy() == 25.0
    assert measured.busy() == 0.0, "no time has passed since"
    now[0] = 20.0
    assert measured.busy() == 100.0
    selector.close()


def test_a_loop_that_works_is_seen_and_one_that_sleeps_is_not() -> None:
    async def main() -> tuple[float, float]:
        measured = meter()
        assert measured is not None
        await asyncio.sleep(0.3)
        asleep = measured.busy()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        await asyncio.sleep(0)
        return asleep, measured.busy()

    with asyncio.Runner(loop_factory=MeteredLoop) as runner:
        asleep, awake = runner.run(main())
    assert asleep < 50 < 90 < awake


def test_another_loop_has_no_meter() -> None:
    async def main() -> LoopMeter | None:
        return meter()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) is None
