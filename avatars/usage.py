"""What an avatar takes on disk and when a session last used it; and which ones nobody has used for long."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from avatars.master import CACHE
from avatars.record import AvatarRecord

MARK = "last_used"
"""An empty file in an avatar's folder; its time of change is when a session last used the avatar."""

MARK_SECONDS = 3600.0
"""The mark is written this often at most."""


@dataclass(frozen=True, slots=True)
class Usage:
    """bytes: of all its files. cache_bytes: of frames.i420, which is made again when needed. last_used: None: never, as
    far as is known.
    """

    bytes: int = 0
    cache_bytes: int = 0
    last_used: datetime | None = None


Kept = Literal["in_use", "used", "linked", "unknown_tutor", "sample", "not_ready"]
"""Why an avatar is not pruned; `used`: within the time that was named; `unknown_tutor`: another database may know its
tutor.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What pruning means to one avatar. kept: why it stays; None: it goes. since: its last use, or its making."""

    record: AvatarRecord
    usage: Usage
    since: datetime
    kept: Kept | None


def measure(folder: Path) -> Usage:
    """What lies in an avatar's folder. Blocking; files that vanish meanwhile are passed over."""
    size = cache = 0
    last = None
    for path in (Path(at, name) for at, _, names in os.walk(folder) for name in names):
        with contextlib.suppress(FileNotFoundError):
            facts = path.lstat()
            size += facts.st_size
            if path.parent == folder and path.name == CACHE:
                cache = facts.st_size
            if path.parent == folder and path.name == MARK:
                last = datetime.fromtimestamp(facts.st_mtime, UTC)
    return Usage(size, cache, last)


def touch(folder: Path) -> None:
    """Write down that the avatar is used now. Blocking, 50 µs. Raises OSError."""
    handle = os.open(folder / MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.utime(handle)
    finally:
        os.close(handle)


class Marks:
    """Which marks are due: an avatar's is written at most once in MARK_SECONDS. Pure."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}

    def due(self, avatar_id: str, now: float | None = None) -> bool:
        """Whether to write it now; then it counts as written. now: monotonic seconds."""
        now = time.monotonic() if now is None else now
        if now - self._written.get(avatar_id, float("-inf")) < MARK_SECONDS:
            return False
        self._written[avatar_id] = now
        return True

    def forget(self, avatar_id: str) -> None:
        self._written.pop(avatar_id, None)


def judge(
    records: Iterable[AvatarRecord],
    usages: Mapping[str, Usage],
    now: datetime,
    *,
    unused_days: float,
    in_use: Set[str] = frozenset(),
    linked: Set[str] = frozenset(),
    strangers: Set[str] = frozenset(),
    samples: Set[str] = frozenset(),
) -> list[Verdict]:
    """For each avatar whether it goes: ready, not in use, neither used nor made within the days. Pure.

    linked, strangers (made for a tutor whom nobody knows), samples: ids that stay though they are unused; the longest
    unused come first.
    """
    limit = now - timedelta(days=unused_days)
    verdicts = []
    for record in records:
        usage = usages.get(record.id, Usage())
        since = max(usage.last_used or record.created_at, record.created_at)
        kept: Kept | None = None
        if record.state != "ready":
            kept = "not_ready"
        elif record.id in in_use:
            kept = "in_use"
        elif since > limit:
            kept = "used"
        elif record.id in samples:
            kept = "sample"
        elif record.id in linked:
            kept = "linked"
        elif record.id in strangers:
            kept = "unknown_tutor"
        verdicts.append(Verdict(record, usage, since, kept))
    return sorted(verdicts, key=lambda verdict: (verdict.since, verdict.record.id))
