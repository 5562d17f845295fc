"""The batch scheduler: its rules one by one, its invariants under any order of events, and many streams over time."""

from __future__ import annotations

import heapq
import itertools
import statistics
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lipsync.musetalk.scheduler import FRESH_FRAMES, LONGEST, RUN_AHEAD, Job, Scheduler

COSTS = {1: 0.006, 2: 0.008, 4: 0.012, 8: 0.020, 16: 0.035, 32: 0.065}
"""Of a device that draws 457 mouths a second in batches of 16."""


def scheduler() -> Scheduler:
    return Scheduler(COSTS)


def ids(jobs: object) -> list[int]:
    return [job.id for job in jobs]  # type: ignore[attr-defined]


def test_the_earliest_deadline_comes_first() -> None:
    s = scheduler()
    s.hear(1, 100)
    for job_id, deadline in ((1, 0.30), (2, 0.10), (3, 0.20), (4, 0.15)):
        s.add(Job(job_id, 1, 10 + job_id, deadline), 0.0)
    batch = s.next(0.0)
    assert batch is not None
    assert ids(batch.jobs) == [2, 4, 3, 1]
    assert batch.bucket == 4
    assert len(s) == 0


def test_nothing_is_drawn_more_than_the_run_ahead_before_its_deadline() -> None:
    s = scheduler()
    s.hear(1, 100)
    s.add(Job(1, 1, 10, RUN_AHEAD + 0.1), 0.0)
    assert s.next(0.0) is None
    wake = s.wake(0.0)
    assert wake is not None
    assert abs(wake - 0.1) < 1e-9
    assert s.next(0.101) is not None


def test_a_mouth_waits_for_its_sound() -> None:
    s = scheduler()
    s.add(Job(1, 1, 10, 0.3), 0.0)
    s.hear(1, 10)
    assert s.next(0.0) is None
    s.hear(1, 11)
    batch = s.next(0.0)
    assert batch is not None
    assert ids(batch.jobs) == [1]


def test_a_fresh_utterance_goes_ahead_of_others_run_ahead_but_not_of_what_is_urgent() -> None:
    s = Scheduler({1: 0.01})
    s.hear(1, 100)
    s.hear(2, 100)
    s.add(Job(1, 1, 10, 0.30), 0.0)
    s.add(Job(2, 1, 11, 0.015), 0.0)
    s.add(Job(3, 2, 0, 0.39), 0.0)
    s.add(Job(4, 2, FRESH_FRAMES, 0.38), 0.0)
    order = []
    now = 0.0
    while (batch := s.next(now)) is not None:
        order += ids(batch.jobs)
        now += 0.01
    assert order == [2, 3, 1, 4]


def test_what_cannot_be_there_in_time_is_skipped_and_counted() -> None:
    s = scheduler()
    s.hear(1, 100)
    s.add(Job(1, 1, 10, 0.005), 0.0)
    s.add(Job(2, 1, 11, 0.1), 0.0)
    s.add(Job(3, 1, 200, 0.004), 0.0)  # its sound never came
    assert sorted(ids(s.late(0.0))) == [1, 3]
    assert s.skipped == 2
    batch = s.next(0.0)
    assert batch is not None
    assert ids(batch.jobs) == [2]


def test_a_large_batch_does_not_make_an_urgent_mouth_late() -> None:
    s = scheduler()
    s.hear(1, 1000)
    s.add(Job(0, 1, 10, 0.013), 0.0)
    for k in range(1, 17):
        s.add(Job(k, 1, 10 + k, 0.1 + k * 0.01), 0.0)
    batch = s.next(0.0)
    assert batch is not None
    assert batch.bucket == 4
    assert batch.jobs[0].id == 0


def test_batches_stay_short_enough_for_a_fresh_utterance() -> None:
    s = scheduler()
    s.hear(1, 1000)
    for k in range(64):
        s.add(Job(k, 1, 10 + k, 0.39), 0.0)
    batch = s.next(0.0)
    assert batch is not None
    assert COSTS[batch.bucket] <= LONGEST
    assert batch.bucket == 16


def test_after_a_slow_time_the_large_batches_come_back() -> None:
    s = scheduler()
    s.hear(1, 10_000)
    numbers = itertools.count()

    def draw(slower: float) -> int:
        for _ in range(16):
            s.add(Job(next(numbers), 1, 10, 0.39), 0.0)
        batch = s.next(0.0)
        assert batch is not None
        s.took(batch.bucket, COSTS[batch.bucket] * slower)
        s.forget(1)
        s.hear(1, 10_000)
        return batch.bucket

    assert draw(1.0) == 16
    assert 4 in {draw(3.0) for _ in range(300)}  # something else works on the device, too
    assert draw(3.0) == 4
    assert [draw(1.0) for _ in range(200)][-1] == 16
    assert abs(s.frames_per_second - 457) < 10


def test_the_rate_is_that_of_the_sizes_that_are_used() -> None:
    assert round(Scheduler({1: 0.02, 2: 0.03, 8: 0.06, 16: 0.08}).frames_per_second) == 67
    assert round(Scheduler({1: 0.2, 2: 0.3}).frames_per_second) == 5  # none is short enough: the quickest


def test_cancelled_and_forgotten_mouths_are_not_drawn() -> None:
    s = scheduler()
    s.hear(1, 100)
    s.hear(2, 100)
    for job_id, stream in ((1, 1), (2, 1), (3, 2), (4, 2)):
        s.add(Job(job_id, stream, 10, 0.3), 0.0)
    assert s.cancel(1)
    assert not s.cancel(1)
    assert ids(s.forget(2)) == [3, 4]
    batch = s.next(0.0)
    assert batch is not None
    assert ids(batch.jobs) == [2]
    assert s.wake(0.0) is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "hear", "cancel", "forget", "next", "next", "late"]),
        st.integers(0, 4),
        st.integers(0, 30),
        st.floats(0.0, 0.6),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_every_mouth_has_exactly_one_end(events: list[tuple[str, int, int, float]]) -> None:
    """Drawn, skipped, cancelled, forgotten or still waiting: never two, never none; and every rule holds on the way."""
    s = scheduler()
    now, added, ended = 0.0, {}, set()
    known: dict[int, int] = {}

    def end(job_id: int) -> None:
        assert job_id in added
        assert job_id not in ended
        ended.add(job_id)

    for kind, stream, number, seconds in events:
        now += 0.01
        if kind == "add":
            job = Job(len(added), stream, number, now + seconds)
            added[job.id] = job
            s.add(job, now)
        elif kind == "hear":
            known[stream] = max(known.get(stream, 0), number)
            s.hear(stream, known[stream])
        elif kind == "cancel":
            if s.cancel(number):
                end(number)
        elif kind == "forget":
            known.pop(stream, None)
            for job in s.forget(stream):
                end(job.id)
        elif kind == "late":
            for job in s.late(now):
                assert job.deadline < now + COSTS[1]
                end(job.id)
        else:
            batch = s.next(now)
            if batch is None:
                continue
            assert 0 < len(batch.jobs) <= batch.bucket
            for job in batch.jobs:
                assert job.frame < known[job.stream]
                assert now + COSTS[batch.bucket] <= job.deadline <= now + RUN_AHEAD
                end(job.id)
    assert len(s) == len(added) - len(ended)


@dataclass
class Heard:
    """What one stream of a simulation saw."""

    on_time: int = 0
    wanted: int = 0
    first: float | None = None  # seconds from its first frame's order to its patch


@dataclass
class Simulation:
    """Streams at 25 frames a second, each ordering 10 frames ahead as the playout does, on a device of these costs."""

    costs: dict[int, float]
    streams: list[Heard] = field(default_factory=list)

    def run(self, starts: list[float], seconds: float) -> None:
        s = Scheduler(self.costs)
        self.streams = [Heard() for _ in starts]
        events: list[tuple[float, int, int, int]] = []  # time, kind (0: order), stream, frame
        for stream, start in enumerate(starts):
            for frame in range(int((seconds - start) * 25)):
                heapq.heappush(events, (start + max(0.0, (frame - 9) * 0.04), 0, stream, frame))
            s.hear(stream, 1 << 30)
        jobs: dict[int, Job] = {}
        now, job_id = 0.0, 0
        while now < seconds:
            while events and events[0][0] <= now:
                at, _, stream, frame = heapq.heappop(events)
                job = Job(job_id, stream, frame, starts[stream] + 0.12 + frame * 0.04)
                job_id += 1
                jobs[job.id] = job
                self.streams[stream].wanted += 1
                s.add(job, at)
            s.late(now)
            batch = s.next(now)
            if batch is None:
                wake = s.wake(now)
                upcoming = [now + wake] if wake is not None else []
                upcoming += [events[0][0]] if events else []
                if not upcoming:
                    return
                now = max(now + 1e-4, min(upcoming))
                continue
            now += self.costs[batch.bucket]
            for job in batch.jobs:
                heard = self.streams[job.stream]
                heard.on_time += now <= job.deadline + 1e-9
                if job.frame == 0:
                    heard.first = now - starts[job.stream]


def test_seventeen_streams_on_a_device_of_457_mouths_a_second_are_all_on_time() -> None:
    simulation = Simulation(COSTS)
    simulation.run([k * 0.0137 for k in range(17)], 20.0)
    shares = [stream.on_time / stream.wanted for stream in simulation.streams]
    assert min(shares) > 0.99
    starts = [stream.first for stream in simulation.streams if stream.first is not None]
    assert len(starts) == 17


def test_a_stream_that_starts_beside_many_is_there_within_two_batches() -> None:
    simulation = Simulation(COSTS)
    late = [5.0 + 0.37 * k for k in range(10)]
    simulation.run([k * 0.011 for k in range(6)] + late, 20.0)
    firsts = [stream.first for stream in simulation.streams[6:] if stream.first is not None]
    assert len(firsts) == 10
    assert statistics.median(firsts) < 0.06
    assert max(firsts) <= 2 * COSTS[16] + 1e-6
    assert min(stream.on_time / stream.wanted for stream in simulation.streams) > 0.99


def test_twice_as_many_streams_as_can_be_served_share_equally() -> None:
    simulation = Simulation(COSTS)
    simulation.run([k * 0.0071 for k in range(36)], 20.0)
    shares = [stream.on_time / stream.wanted for stream in simulation.streams]
    assert min(shares) > 0.8 * max(shares)
    # What is drawn in time is what the device can draw: nothing is wasted on mouths that come late.
    assert sum(stream.on_time for stream in simulation.streams) > 0.95 * 20 * max(
        size / cost for size, cost in COSTS.items() if cost <= LONGEST
    )
