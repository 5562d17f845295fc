"""Whether the tutor can hear the student, and what with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Availability:
    """As the API shows it. reason: a sentence that says why not; None where it can."""

    available: bool
    reason: str | None = None


NOT_INSTALLED = "Speech recognition is not installed on this server."


def availability() -> Availability:
    """What this server can hear with the settings it has."""
    return Availability(False, NOT_INSTALLED)
