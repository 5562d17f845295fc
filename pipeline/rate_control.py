"""The session's bitrate: what the weakest viewer's network takes, followed down at once and up slowly. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipeline.media import VideoSettings

SOUND = 90_000  # bit/s of sound with its headers
SHARE = 0.9  # of the rest goes to the picture; what is left to retransmissions and headers
DOWN, UP = 0.95, 1.1  # changes smaller than these are left alone
STEP_UP = 1.25
STEP_SECONDS = 2.0  # between two steps up
WINDOW = 1.0  # seconds over which the sent rate is averaged
OVERUSE = 0.9  # an estimate below this share of what is sent …
OVERUSE_SECONDS = 2.0  # … for so long (a keyframe is a burst of less than one) is a network that is full, …
RISING = 1.08  # … unless it grew by this meanwhile: it follows a picture that has just become livelier


@dataclass(slots=True)
class _Link:
    estimate: int = 0
    below_since: float | None = None
    below_estimate: int = 0  # at that time
    limit: int | None = None  # None: nothing is known against it


class RateControl:
    """Receivers' estimates in, the encoder's bitrate out.

    Chromium's estimate (REMB, five a second) begins with 0.8 times what arrives, grows by 8 % a second and never says
    more than 1.5 times that. A face at rest needs a fraction of the bitrate: followed to the letter, a tutor that is
    quiet would be held to its quiet rate when it speaks. So an estimate limits a link only when it stays below what is
    being sent; any higher one lifts the limit again, and a lower one of a quiet picture leaves it.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self._floor = settings.min_bitrate
        self._ceiling = max(settings.bitrate, settings.max_bitrate)
        self._start = settings.bitrate
        self._links: dict[object, _Link] = {}
        self._sent: deque[tuple[float, int]] = deque()
        self._sent_bits = 0
        self._changed = float("-inf")
        self.bitrate = settings.bitrate

    def sent(self, now: float, size: int) -> None:
        """A picture of `size` bytes went out."""
        self._sent.append((now, size * 8))
        self._sent_bits += size * 8
        while self._sent[0][0] < now - WINDOW:
            self._sent_bits -= self._sent.popleft()[1]

    @property
    def sent_rate(self) -> float:
        """Bit/s of the pictures of the last second; 0 while less than half a second is known."""
        span = self._sent[-1][0] - self._sent[0][0] if self._sent else 0.0
        return self._sent_bits / span if span >= WINDOW / 2 else 0.0

    def report(self, viewer: object, estimate: int, now: float) -> int:
        """A viewer's new estimate, bit/s for the whole connection; gives the bitrate to encode with."""
        link = self._links.setdefault(viewer, _Link())
        link.estimate = estimate
        rate = self.sent_rate
        if not rate or estimate >= OVERUSE * rate:
            link.below_since = None
        elif link.below_since is None or estimate >= RISING * link.below_estimate:
            link.below_since, link.below_estimate = now, estimate
        elif now - link.below_since >= OVERUSE_SECONDS:
            link.limit = estimate
        if link.limit is not None:
            link.limit = max(link.limit, estimate)
            if _picture(link.limit) >= self._ceiling:
                link.limit = None
        return self._decide(now)

    def gone(self, viewer: object, now: float) -> int:
        """A viewer left."""
        self._links.pop(viewer, None)
        return self._decide(now)

    def _decide(self, now: float) -> int:
        wanted = min((self._room(link) for link in self._links.values()), default=float(self._start))
        wanted = min(max(wanted, self._floor), self._ceiling)
        if wanted < DOWN * self.bitrate:
            self.bitrate, self._changed = round(wanted), now
        elif wanted > UP * self.bitrate and now - self._changed >= STEP_SECONDS:
            self.bitrate, self._changed = round(min(wanted, STEP_UP * self.bitrate)), now
        return self.bitrate

    def _room(self, link: _Link) -> float:
        """What one viewer's link takes. Above the start bitrate only what its estimate has shown."""
        if link.limit is not None:
            return _picture(link.limit)
        return max(self._start, _picture(link.estimate))


def _picture(estimate: int) -> float:
    return SHARE * (estimate - SOUND)
