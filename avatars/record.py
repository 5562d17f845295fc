"""What is known of an avatar (avatar.json), what a build is asked for, and the rule for ids."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from avatars.errors import AvatarError

FORMAT_VERSION = 1
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

State = Literal["preparing", "ready", "failed"]
Severity = Literal["error", "warning", "info"]


def check_id(avatar_id: str) -> str:
    """The id itself if it is one, safe as a folder's name. Raises AvatarError("invalid_id")."""
    if not _ID.fullmatch(avatar_id):
        raise AvatarError("invalid_id")
    return avatar_id


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SourceFacts(_Model):
    """The upload as it was found. width, height: as displayed. duration: seconds that it declares, 0: unknown."""

    container: str
    codec: str
    width: int
    height: int
    fps: float = 0.0
    duration: float = 0.0
    rotation: int = 0
    bits: int = 8
    hdr: bool = False
    bytes: int = 0


class Finding(_Model):
    """One thing the quality check has to say. value: what was measured, in the unit the code implies."""

    code: str
    severity: Severity
    message: str
    value: float | None = None


class QualityReport(_Model):
    """ok: nothing stands against using the avatar (no finding is an error). metrics: what the findings rest on."""

    ok: bool = True
    findings: tuple[Finding, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)


class Problem(_Model):
    """Why a build failed: a stable code of avatars.errors and a sentence for the teacher."""

    code: str
    message: str


class Consent(_Model):
    """Whether the person shown agreed to become an avatar, and when that was said."""

    given: bool = False
    at: datetime | None = None


class AvatarRecord(_Model):
    """One avatar, at any time of its life. progress: 0..1. stage: a word for what is being done (queued, checking,
    decoding, finding_face, preparing_engine, saving, done). width, height: of the frames, both even. engines: folders
    that engines prepared."""

    id: str
    tutor_id: str = ""
    state: State = "preparing"
    stage: str = "queued"
    progress: float = 0.0
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: int = 25
    still: bool = False
    apply_blur: bool = False
    source: SourceFacts | None = None
    quality: QualityReport | None = None
    error: Problem | None = None
    consent: Consent = Consent()
    engines: tuple[str, ...] = ()
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    format_version: int = FORMAT_VERSION


class BuildRequest(_Model):
    """An order for an avatar. video: the file to take it from; move: it is the builder's to move away (an upload),
    else it is copied. consent_at: when consent was given; now, if consent is true and nothing is said."""

    avatar_id: str
    video: Path
    tutor_id: str = Field(default="", max_length=200)
    apply_blur: bool = False
    consent: bool = False
    consent_at: datetime | None = None
    move: bool = False
