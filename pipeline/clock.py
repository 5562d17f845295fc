"""The session's one clock: when things are due on the monotonic clock, and the time they are sent with."""

from __future__ import annotations

import math

HALF_TICK = 0.02
"""Seconds: the grid on which sound packets leave. A picture leaves on every second point."""

TOLERANCE = 0.06
"""Seconds that a point may be late and still be sent with its own time; later than that the times jump to now."""


class MediaClock:
    """A grid of instants on the monotonic clock. Pure: `now` comes in.

    The grid never moves, so real intervals and media times agree for good (a 42 ms interval with 40 ms of media time
    creeps to 155 ms within 40 s, measured with aiortc and Chromium). What was missed in a stall is left out:
    the content goes on, its times jump, and nothing is sent late in a burst.
    """

    def __init__(self, now: float) -> None:
        self._origin = now
        self._index = 0
        self.jumps = 0

    @property
    def due(self) -> float:
        """When the next point is due, in monotonic seconds."""
        return self._at(self._index)

    def take(self, now: float) -> float:
        """The media time of the point that is sent now, in seconds since the clock began; the next one gets due.

        To be called at `due` or later. Within TOLERANCE it is the point's own time, else the last point before `now`.
        """
        if now - self.due >= TOLERANCE:
            latest = math.floor((now - self._origin) / HALF_TICK + 1e-6)
            if latest > self._index:
                self._index = latest
                self.jumps += 1
        index, self._index = self._index, self._index + 1
        return index * HALF_TICK

    def _at(self, index: int) -> float:
        return self._origin + index * HALF_TICK
