"""What is known of a recording: one JSON file beside its film."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

State = Literal["recording", "complete", "cut_off"]
"""cut_off: the server was killed meanwhile, or could not write on; the film can be played as far as it goes."""

Reason = Literal["stopped", "session_ended", "too_long", "disk_full", "no_room", "failed", "killed"]
"""Why it ended. no_room: recording.max_gb was reached. failed: the log says why. killed: the server was."""

PART = ".part"  # of a record that is just being written

TYPES = {"mp4": "video/mp4", "webm": "video/webm"}


class Record(BaseModel):
    """format: the film's container. seconds: its length. lost: how often the disk was too slow, so that some of it
    is missing.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    session_id: str
    student_id: str
    tutor_id: str | None
    avatar_id: str
    format: Literal["mp4", "webm"]
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float = 0.0
    bytes: int = 0
    state: State = "recording"
    reason: Reason | None = None
    lost: int = 0

    @property
    def film(self) -> str:
        """The film's file name."""
        return f"{self.id}.{self.format}"


def read_record(path: Path) -> Record | None:
    """None: there is none, or it cannot be read."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Whole or not at all. Raises OSError."""
    part = path.with_suffix(PART)
    with part.open("wb") as file:
        file.write(record.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
