"""How long the steps of live sessions take, as distributions: counted where they happen, read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

STEP = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 1.0)
"""Seconds: of what has to be done within a picture's 40 ms."""

WAIT = (0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.3, 0.4, 0.6, 1.0)
"""Seconds: of what may take longer, ahead of its picture."""


class Spread:
    """A distribution of seconds. counts: of values up to each bound (and above the last); 0.2 us a value.

    Used on the event loop only.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = STEP) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Timings:
    """Of one session, or of all that share it.

    draw, encode: a picture. sound: encoding 20 ms of it. mouth: from its order to its patch. late: after its instant
    that a tick comes. offset: after its sound that a picture leaves.
    """

    draw: Spread = field(default_factory=Spread)
    encode: Spread = field(default_factory=Spread)
    sound: Spread = field(default_factory=Spread)
    mouth: Spread = field(default_factory=partial(Spread, WAIT))
    late: Spread = field(default_factory=Spread)
    offset: Spread = field(default_factory=Spread)
