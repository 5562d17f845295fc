"""Whether the machine bears one more session: CPU and late pictures over the last seconds. Pure: samples come in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.limits import Limits, Refusal

WINDOW_SECONDS = 5.0
"""A load counts as its mean over so long: a spike refuses nobody."""

FEWEST = 3
"""Samples from which on there is a mean."""

MARGIN = 10.0
"""Percent of CPU, or of the loop, below the limit at which an overload counts as over; lateness: half its limit."""

FIRST_COST = 0.3
"""Cores that a session is thought to take until it is measured (docs/benchmarks.md: 0.2-0.4 at 720p)."""

FIRST_TURN = 6.0
"""Percent of the event loop that a session is thought to take until it is measured (docs/benchmarks.md)."""

MOST_SKIPPED = 0.05
"""Share of a running session's pictures that may be left out, because those before were not ready, before it counts as
late; a fifth of that: it is over.
"""

RETRY_SECONDS = 10.0
"""The mean over the window cannot change sooner by much."""


@dataclass(frozen=True, slots=True)
class Sample:
    """cpu: percent of the machine that is busy, work at a lower priority left out; own: this process's part of it.
    awake: sessions. late: how late pictures leave (s), skipped: share of them left out (0..1), both of the session that
    fares worst. loop: percent of its time that the event loop was busy.
    """

    at: float
    cpu: float
    own: float
    awake: int
    late: float = 0.0
    skipped: float = 0.0
    loop: float = 0.0


class Load:
    """Says no once a limit is reached, until the load has fallen well below it; and to a burst that would reach it.

    cores: that this process may use.
    """

    def __init__(self, cores: float = 1.0) -> None:
        self._samples: deque[Sample] = deque(maxlen=64)
        self._started: deque[float] = deque(maxlen=64)
        self._core = 100.0 / cores
        self._busy = False
        self._looped = False
        self._late = False
        self.turn = FIRST_TURN  # of one more session, percent of the loop
        self.cost = FIRST_COST * self._core  # of one more session, percent of the machine

    def add(self, sample: Sample, limits: Limits) -> None:
        """What was measured since the sample before."""
        self._samples.append(sample)
        while sample.at - self._samples[0].at >= WINDOW_SECONDS:
            self._samples.popleft()
        if len(self._samples) < FEWEST:
            return
        if all(each.awake for each in self._samples):
            cost = self._mean("own") / self._mean("awake")
            self.cost = min(self._core, cost)
            self.turn = self._mean("loop") / self._mean("awake")
        self._busy = self._mean("cpu") >= limits.max_cpu - (MARGIN if self._busy else 0.0)
        self._looped = self._mean("loop") >= limits.max_loop - (MARGIN if self._looped else 0.0)
        self._late = limits.max_late > 0 and self._leave_late(limits)

    def _leave_late(self, limits: Limits) -> bool:
        late, skipped = (0.5, 0.2) if self._late else (1.0, 1.0)
        return self._mean("late") >= limits.max_late * late or self._mean("skipped") >= MOST_SKIPPED * skipped

    def started(self, now: float) -> None:
        """A session began, which the samples do not show yet."""
        self._started.append(now)

    def overload(self, now: float, awake: int, limits: Limits) -> Refusal | None:
        """Why no more may start now. Where none runs there is none that it could harm."""
        if not awake:
            return None
        recent = sum(now - each < WINDOW_SECONDS for each in self._started)
        if limits.max_cpu < 100.0 and (self._busy or self.cpu + (recent + 1) * self.cost > limits.max_cpu):
            return Refusal("the server is as busy as it may be", RETRY_SECONDS, "cpu")
        if limits.max_loop < 100.0 and (self._looped or self.loop + (recent + 1) * self.turn > limits.max_loop):
            return Refusal("this server's event loop is as busy as it may be", RETRY_SECONDS, "loop")
        if self._late:
            return Refusal("the pictures of the running sessions leave late", RETRY_SECONDS, "late")
        return None

    @property
    def cpu(self) -> float:
        """Percent, the mean of the last seconds."""
        return self._mean("cpu")

    @property
    def loop(self) -> float:
        """Percent, likewise."""
        return self._mean("loop")

    @property
    def late(self) -> float:
        """Seconds, likewise."""
        return self._mean("late")

    def _mean(self, name: str) -> float:
        values = [float(getattr(each, name)) for each in self._samples]
        return sum(values) / len(values) if values else 0.0
