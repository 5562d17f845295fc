"""The session's bitrate: what the weakest viewer's network takes, followed down at once and up slowly. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipeline.media import VideoSettings

SHARE = 0.9  # of a network's estimate goes to the picture; the rest to sound, retransmissions and headers
DOWN, UP = 0.95, 1.1  # changes smaller than these are left alone
STEP_UP = 1.25
STEP_SECONDS = 2.0  # between two steps up
PROBE = 1.08  # a limit grows by this with each report that finds the network well used and well
WINDOW = 3.0  # seconds over which the sent rate is averaged


@dataclass(slots=True)
class _Link:
    estimate: int | None = None
    low: int = 0  # reports in a row far below what was sent
    limit: float | None = None  # None: nothing is known against it


class RateControl:
    """Receivers' estimates in, the encoder's bitrate out.

    A receiver's estimate (REMB) grows to about 1.5 times what arrives and no further, and its first one is what
    arrives. A face at rest needs a fraction of the bitrate, so a low estimate alone says nothing: a link is limited
    when its estimate falls, or stays far below what is being sent.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self._floor = settings.min_bitrate
        self._ceiling = max(settings.bitrate, settings.max_bitrate)
        self._start = settings.bitrate
        self._links: dict[object, _Link] = {}
        self._sent: deque[tuple[float, int]] = deque()
        self._sent_bits = 0
        self._changed = -STEP_SECONDS
        self.bitrate = settings.bitrate

    def sent(self, now: float, size: int) -> None:
        """A picture of `size` bytes went out."""
        self._sent.append((now, size * 8))
        self._sent_bits += size * 8
        while self._sent and self._sent[0][0] < now - WINDOW:
            self._sent_bits -= self._sent.popleft()[1]

    @property
    def sent_rate(self) -> float:
        """Bit/s of the last seconds."""
        if len(self._sent) < 2:
            return 0.0
        return self._sent_bits / max(0.5, self._sent[-1][0] - self._sent[0][0])

    def report(self, viewer: object, estimate: int, now: float) -> int:
        """A viewer's new estimate, bit/s; gives the bitrate to encode with."""
        link = self._links.setdefault(viewer, _Link())
        before, link.estimate = link.estimate, estimate
        far_below = estimate < 0.8 * self.sent_rate and (before is None or estimate < 1.02 * before)
        link.low = link.low + 1 if far_below else 0
        if (before is not None and estimate < 0.95 * before) or link.low >= 2:
            link.limit = float(estimate)
        elif link.limit is not None:
            link.limit = max(link.limit, float(estimate))
            if self.sent_rate > 0.7 * link.limit:
                link.limit *= PROBE
            if SHARE * link.limit >= self._ceiling:
                link.limit = None
        return self._decide(now)

    def gone(self, viewer: object, now: float) -> int:
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
            return SHARE * link.limit
        return max(self._start, SHARE * (link.estimate or 0))
