"""What viewers' connections sent and lost, as counters that only grow, though viewers come and go."""

from __future__ import annotations

from server.metrics.happened import Happened
from server.rtc.peer import PeerStats


class Links:
    """Adds to the counters what each connection has done since it was looked at last."""

    def __init__(self, happened: Happened) -> None:
        self._happened = happened
        self._seen: dict[str, tuple[int, int, int]] = {}

    def looked(self, entry_id: str, stats: PeerStats) -> None:
        """A connection that goes on."""
        self._add(entry_id, stats)
        if stats.rtt is not None:
            self._happened.rtt.observe(stats.rtt)
        if stats.loss is not None:
            self._happened.loss.observe(stats.loss)

    def left(self, entry_id: str, stats: PeerStats | None) -> None:
        """It has ended, with these figures; None: they are not known."""
        if stats is not None:
            self._add(entry_id, stats)
        self._seen.pop(entry_id, None)

    def _add(self, entry_id: str, stats: PeerStats) -> None:
        packets, lost, size = self._seen.get(entry_id, (0, 0, 0))
        # A viewer's count of what it lost falls where a packet comes late after all.
        now = (max(packets, stats.packets), max(lost, stats.packets_lost), max(size, stats.bytes))
        self._seen[entry_id] = now
        self._happened.packets.inc(now[0] - packets)
        self._happened.lost.inc(now[1] - lost)
        self._happened.bytes.inc(now[2] - size)
