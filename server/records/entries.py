"""What the journal is told of sessions: plain facts, on their way to the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from pipeline.stats import SessionStats

Who = Literal["student", "tutor"]

_MEANS = frozenset(each.name for each in fields(SessionStats) if each.name.endswith("_ms"))
_TOTALS = frozenset(
    {
        "seconds",
        "pictures",
        "pictures_skipped",
        "keyframes",
        "sounds",
        "mouths",
        "mouths_late",
        "mouths_failed",
        "starts_late",
        "underruns",
        "stalls",
        "overflows",
    }
)
_BEGUN = "utterances"  # in a record: how many began; a queue's present length would tell nothing of the past


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a session, from its beginning."""

    id: str
    student_id: str
    tutor_id: str | None
    avatar_id: str
    kb_id: str | None
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Started:
    facts: Facts


@dataclass(frozen=True, slots=True)
class Said:
    """text: of the tutor what was heard of it. at: when it began."""

    facts: Facts
    who: Who
    text: str
    interrupted: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    facts: Facts
    at: datetime
    reason: str
    quality: dict[str, Any] | None


Entry = Started | Said | Ended


def add_figures(before: dict[str, Any] | None, stats: SessionStats) -> dict[str, Any]:
    """The figures of a session that slept in between: counts are added up, of running means the last one counts."""
    now = asdict(stats)
    total: dict[str, Any] = {name: now[name] + (before or {}).get(name, 0) for name in sorted(_TOTALS)}
    total[_BEGUN] = now["utterances_begun"] + (before or {}).get(_BEGUN, 0)
    total["seconds"] = round(total["seconds"], 3)
    for name in sorted(_MEANS):
        total[name] = now[name] if now[name] is not None else (before or {}).get(name)
    return total


def clean(text: str) -> str:
    """As every database takes it: PostgreSQL knows no NUL, and none takes half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
