"""Which mouths a GPU draws next, and which come too late: pure decisions, `now` (monotonic seconds) comes in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

RUN_AHEAD = 0.4
"""Seconds before its deadline from which on a mouth may be drawn."""

FRESH_FRAMES, FRESH_SECONDS = 3, 0.02
"""The first mouths of an utterance are wanted this soon after they were asked for, whatever their deadline."""

LONGEST = 0.05
"""Seconds that one batch may take at most, so that a fresh utterance need not wait longer; unless it is one of one."""

OVERLOAD_SECONDS = 1.0
"""After a mouth came too late, the streams share for this long; else the earliest deadline comes first."""

_SHARE_HALF_LIFE = 1.0
_LEARN = 0.1  # weight of the newest duration in a bucket's running mean
_FOLLOW = 0.02  # the same for the other buckets, whose own durations are not known


@dataclass(frozen=True, slots=True)
class Job:
    """One mouth. stream: its utterance; frame: of the utterance; deadline: when it has to be there."""

    id: int
    stream: int
    frame: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs to draw now in one call of `bucket` places (len(jobs) <= bucket)."""

    bucket: int
    jobs: tuple[Job, ...]


@dataclass(slots=True)
class _Stream:
    known: int = 0  # frames whose sound was heard
    served: float = 0.0  # mouths drawn, old ones counting less
    at: float = 0.0  # when `served` was right
    jobs: dict[int, Job] = field(default_factory=dict)
    due: dict[int, float] = field(default_factory=dict)

    def share(self, now: float) -> float:
        return self.served * math.exp2((self.at - now) / _SHARE_HALF_LIFE)


class Scheduler:
    """Earliest deadline first, in batches of fixed sizes; fair to all streams when not everything can be done.

    costs: seconds that a batch of each size takes. run_ahead, longest: see the constants.
    Counts: `drawn` mouths, and `skipped` ones that could not be there in time.
    """

    def __init__(self, costs: Mapping[int, float], *, run_ahead: float = RUN_AHEAD, longest: float = LONGEST) -> None:
        if not costs:
            raise ValueError("a scheduler needs the cost of at least one batch size")
        self.costs = dict(sorted(costs.items()))
        self._measured = dict(self.costs)
        self._run_ahead = run_ahead
        self._longest = longest
        self._streams: dict[int, _Stream] = {}
        self._stream_of: dict[int, int] = {}
        self._overload_until = -math.inf
        self.drawn = 0
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._stream_of)

    @property
    def frames_per_second(self) -> float:
        """Mouths a second at the best of the batch sizes that are used."""
        return max(size / self.costs[size] for size in self._usable())

    # -- what comes in ------------------------------------------------------------------------------------------

    def hear(self, stream: int, known: int) -> None:
        """The sound of a stream's frames before `known` was heard: their mouths can be drawn."""
        self._stream(stream).known = known

    def add(self, job: Job, now: float) -> None:
        """Take a mouth on; it waits until its sound was heard."""
        stream = self._stream(job.stream)
        if not stream.jobs and stream.served == 0.0:
            # As if it had had as much as the one that had least: a new stream is served soon, but not all of the time.
            others = [other.share(now) for other in self._streams.values() if other.jobs]
            stream.served, stream.at = min(others, default=0.0), now
        stream.jobs[job.id] = job
        fresh = job.frame < FRESH_FRAMES
        stream.due[job.id] = min(job.deadline, now + FRESH_SECONDS) if fresh else job.deadline
        self._stream_of[job.id] = job.stream

    def cancel(self, job_id: int) -> bool:
        """Drop a mouth that nobody wants any more. False: it is not (or no longer) waiting."""
        stream = self._stream_of.pop(job_id, None)
        if stream is None:
            return False
        del self._streams[stream].jobs[job_id]
        del self._streams[stream].due[job_id]
        return True

    def forget(self, stream: int) -> list[Job]:
        """An utterance is over; gives the mouths of it that still waited."""
        gone = self._streams.pop(stream, _Stream())
        for job_id in gone.jobs:
            del self._stream_of[job_id]
        return list(gone.jobs.values())

    def took(self, bucket: int, seconds: float) -> None:
        """A batch was done: keeps the costs true.

        The other sizes' follow, as the device is slower or quicker for them too: one that grew too long to be used must
        come back when the device is itself again.
        """
        self.costs[bucket] += _LEARN * (seconds - self.costs[bucket])
        slower = self.costs[bucket] / self._measured[bucket]
        for size, cost in self.costs.items():
            if size != bucket:
                self.costs[size] = cost + _FOLLOW * (self._measured[size] * slower - cost)

    # -- what goes out ------------------------------------------------------------------------------------------

    def late(self, now: float) -> list[Job]:
        """Mouths that could not be there in time any more; they are dropped and counted."""
        limit = now + min(self.costs.values())
        late = [job for stream in self._streams.values() for job in stream.jobs.values() if job.deadline < limit]
        for job in late:
            self.cancel(job.id)
        if late:
            self.skipped += len(late)
            self._overload_until = now + OVERLOAD_SECONDS
        return late

    def next(self, now: float) -> Batch | None:
        """What to draw now; None: nothing can be drawn (see `wake`). Call `late` before."""
        waiting = self._eligible(now)
        if not waiting:
            return None
        overloaded = now < self._overload_until
        bucket = self._bucket(waiting, now, spare_none=not overloaded)
        in_time = [job for job in waiting if job.deadline >= now + self.costs[bucket]]
        chosen = self._fair(in_time, bucket, now) if overloaded else self._soonest(in_time)[:bucket]
        for job in chosen:
            self.cancel(job.id)
            stream = self._streams[job.stream]
            stream.served, stream.at = stream.share(now) + 1, now
        self.drawn += len(chosen)
        return Batch(bucket, tuple(chosen))

    def wake(self, now: float) -> float | None:
        """Seconds until something can be drawn or is late, if nothing comes in; None: nothing waits."""
        if not self._stream_of:
            return None
        least = min(self.costs.values())
        times = [
            job.deadline - (self._run_ahead if job.frame < stream.known else least)
            for stream in self._streams.values()
            for job in stream.jobs.values()
        ]
        return max(0.0, min(times) - now)

    # -- deciding -----------------------------------------------------------------------------------------------

    def _stream(self, stream: int) -> _Stream:
        return self._streams.setdefault(stream, _Stream())

    def _eligible(self, now: float) -> list[Job]:
        least = min(self.costs.values())
        return [
            job
            for stream in self._streams.values()
            for job in stream.jobs.values()
            if job.frame < stream.known and now + least <= job.deadline <= now + self._run_ahead
        ]

    def _bucket(self, waiting: list[Job], now: float, *, spare_none: bool) -> int:
        """The size that draws most mouths a second; spare_none: among those that make no waiting mouth late."""
        tightest = min(job.deadline for job in waiting) - now
        sizes = self._usable()
        if spare_none:
            sizes = [size for size in sizes if self.costs[size] <= tightest] or [self._quickest()]
        best, best_rate = sizes[0], -1.0
        for size in sizes:
            cost = self.costs[size]
            count = min(size, sum(job.deadline >= now + cost for job in waiting))
            if count and count / cost > best_rate:
                best, best_rate = size, count / cost
        return best

    def _usable(self) -> list[int]:
        return [size for size, cost in self.costs.items() if cost <= self._longest] or [self._quickest()]

    def _quickest(self) -> int:
        return min(self.costs, key=self.costs.__getitem__)

    def _soonest(self, jobs: Iterable[Job]) -> list[Job]:
        return sorted(jobs, key=lambda job: (self._streams[job.stream].due[job.id], job.id))

    def _fair(self, jobs: list[Job], places: int, now: float) -> list[Job]:
        """Place after place to the stream that had the least, its soonest mouth first."""
        queues: dict[int, list[Job]] = {}
        for job in self._soonest(jobs):
            queues.setdefault(job.stream, []).append(job)
        had = {stream: self._streams[stream].share(now) for stream in queues}
        chosen: list[Job] = []
        while queues and len(chosen) < places:
            stream = min(queues, key=lambda each: (had[each], self._streams[each].due[queues[each][0].id]))
            chosen.append(queues[stream].pop(0))
            had[stream] += 1
            if not queues[stream]:
                del queues[stream]
        return chosen
