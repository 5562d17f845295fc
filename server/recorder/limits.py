"""When a recording has to stop, and when one has been kept long enough. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.recorder.record import Reason, Record


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: of one film. total: bytes of all. free: bytes that must stay free on the disk. days: None: for ever."""

    seconds: float
    total: int
    free: int
    days: float | None

    def over(self, *, seconds: float, total: int, free: int) -> Reason | None:
        """Why a film of so many seconds must not go on; None: it may."""
        if free < self.free:
            return "disk_full"
        if total >= self.total:
            return "no_room"
        return "too_long" if seconds >= self.seconds else None

    def too_old(self, records: Iterable[Record], now: datetime) -> list[Record]:
        """Those that ended more than `days` ago."""
        if self.days is None:
            return []
        limit = now - timedelta(days=self.days)
        return [record for record in records if record.ended_at is not None and record.ended_at < limit]
