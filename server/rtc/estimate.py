"""What a viewer's network can take, from what its browser estimates: pure, `now` (monotonic seconds) comes in."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 1.0
OVERUSE = 0.9
OVERUSE_SECONDS = 2.0
LOSS = 0.02


class BandwidthLimit:
    """Tells a full network from a picture that needs little.

    A browser's REMB never says much more than what it is sent: at most 1.5 times that, growing 8 % a second, and at
    first about 0.8 times (measured: 0.38 Mbit/s for the 0.46 of a quiet picture on loopback). Taken as it comes, a
    tutor that is quiet would be held to its quiet rate when it speaks. So an estimate lowers the limit only when the
    network is overused: it is below what is sent, and packets are lost or it stays so for two seconds (a keyframe is
    a burst of less than one). Any higher estimate raises the limit again, and a lower one of a quiet picture leaves it.
    """

    def __init__(self) -> None:
        self._total = 0
        self._samples: deque[tuple[float, int]] = deque(maxlen=64)
        self._below_since: float | None = None
        self._loss = 0.0
        self.limit: int | None = None

    def sent(self, size: int) -> None:
        """`size` bytes of media were sent."""
        self._total += size

    def lost(self, fraction: float) -> None:
        """The part of the packets, 0..1, that the viewer's last report misses."""
        self._loss = fraction

    def estimated(self, bitrate: int, now: float) -> int | None:
        """A REMB of the viewer (bit/s). Gives the limit in bit/s for the whole connection; None: none is known."""
        rate = self._rate(now)
        if rate is None or bitrate >= OVERUSE * rate:
            self._below_since = None
        else:
            if self._below_since is None:
                self._below_since = now
            if self._loss >= LOSS or now - self._below_since >= OVERUSE_SECONDS:
                self.limit = bitrate
        if self.limit is not None:
            self.limit = max(self.limit, bitrate)
        return self.limit

    def _rate(self, now: float) -> float | None:
        """What was sent over the last second, bit/s; None while less than half a second is known."""
        self._samples.append((now, self._total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()
        begun, before = self._samples[0]
        if now - begun < WINDOW_SECONDS / 2:
            return None
        return (self._total - before) * 8 / (now - begun)
