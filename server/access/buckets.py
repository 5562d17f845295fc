"""Token buckets: how often each of many may do something. Pure: every call takes `now`."""

from __future__ import annotations

from collections import OrderedDict

MOST_NAMES = 10_000  # of addresses or keys that are remembered; whoever was not seen longest is forgotten


class Buckets:
    """One bucket a name, each of `per_minute` turns that fill up again within a minute: all may be taken at once.

    per_minute 0: no limit.
    """

    def __init__(self, per_minute: int, most: int = MOST_NAMES) -> None:
        self.per_minute = per_minute
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # turns, and when that was

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, name: str, now: float) -> float:
        """Seconds until the next turn is free; 0.0: one is free now."""
        turns = self._turns(name, now)
        return 0.0 if turns >= 1.0 else (1.0 - turns) * 60.0 / self.per_minute

    def take(self, name: str, now: float) -> float:
        """The same, and where a turn is free it is taken. To ask while none is free makes nobody wait longer."""
        if not self.per_minute:
            return 0.0
        turns = self._turns(name, now)
        free = turns >= 1.0
        self._left[name] = (turns - 1.0 if free else turns, now)
        self._left.move_to_end(name)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return 0.0 if free else (1.0 - turns) * 60.0 / self.per_minute

    def _turns(self, name: str, now: float) -> float:
        if not self.per_minute:
            return 1.0
        turns, then = self._left.get(name, (float(self.per_minute), now))
        return min(float(self.per_minute), turns + max(0.0, now - then) * self.per_minute / 60.0)
