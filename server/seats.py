"""One seat, and how long seats are held: what admission (server/admission.py) decides from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

State = Literal["waiting", "awake", "asleep"]


@dataclass(slots=True)
class Seat:
    """What is known of a session. present: viewers and WebSockets; followers: readers of its events. joined: somebody
    was there. started: when it was awake first. told: which ends were told, and for when. Times: monotonic seconds.
    """

    created: float
    empty_since: float
    state: State = "asleep"
    present: int = 0
    followers: int = 0
    joined: bool = False
    started: float | None = None
    awake_since: float = 0.0
    waits_since: float = 0.0
    unfollowed_at: float = 0.0
    active_at: float = 0.0
    busy: bool = False
    told: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Somebody keeps its place in the line."""
        return self.present > 0 or self.followers > 0

    def wake(self, now: float) -> None:
        self.state = "awake"
        self.awake_since = self.active_at = now
        if self.started is None:
            self.started = now


@dataclass(frozen=True, slots=True)
class Forecast:
    """rest: seconds until each taken seat may come free, the first one first. mean: how long it is held then."""

    rest: tuple[float, ...]
    mean: float | None

    def at(self, position: int) -> float | None:
        """Seconds until seats have come free so many times; None: nothing is known to tell it from."""
        if not self.rest:
            return None
        rounds, index = divmod(position - 1, len(self.rest))
        if rounds == 0:
            return self.rest[index]
        return None if self.mean is None else self.rest[index] + rounds * self.mean


class Turnover:
    """How long seats were held of late, and so when the next ones may come free."""

    def __init__(self, remembered: int = 32) -> None:
        self._held: deque[float] = deque(maxlen=remembered)

    def add(self, seconds: float) -> None:
        """A seat came free that was held for so long."""
        self._held.append(seconds)

    def forecast(self, held: Sequence[tuple[float, float | None]], now: float) -> Forecast:
        """held: of each seat that is taken, since when, and when it comes free at the latest, if that is known. A seat
        is thought to be held as long as the mean of late; one that is held longer already, for a tenth of that yet.
        """
        mean = sum(self._held) / len(self._held) if self._held else None
        rest = []
        for since, end in held:
            guesses = [] if end is None else [max(0.0, end - now)]
            if mean is not None:
                guesses.append(max(mean - (now - since), mean / 10))
            if guesses:
                rest.append(min(guesses))
        return Forecast(tuple(sorted(rest)), mean)
