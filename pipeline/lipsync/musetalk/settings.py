"""MuseTalk's settings for preparing a face: the server's own, and what an avatar changes of them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.lipsync.musetalk.installation import Version

Mode = Literal["raw", "jaw"]

FILE = "settings.json"
_RECIPE = 1  # raised when the same settings give other data


class MuseTalkSettings(BaseModel):
    """How faces are prepared.

    version: of the model. bbox_shift: pixels by which point 29, the middle of the face box, is moved down (v1.0 only).
    calibration: the same in both versions and in eye distances, for what the landmarks' point 29 is off. extra_margin:
    pixels added below the chin (v1.5 only). parsing: how the blend mask is cut, `raw` or `jaw`; none: raw for v1.0, jaw
    for v1.5. cheek_width: half width of the middle in which `jaw` keeps the grown skin, in pixels of the 512 label map.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version = "1.5"
    bbox_shift: Annotated[int, Field(ge=-100, le=100)] = 0
    calibration: Annotated[float, Field(ge=-0.5, le=0.5)] = 0.0
    extra_margin: Annotated[int, Field(ge=0, le=100)] = 10
    parsing: Mode | None = None
    cheek_width: Annotated[int, Field(ge=1, le=255)] = 90

    @property
    def mode(self) -> Mode:
        return self.parsing or ("jaw" if self.version == "1.5" else "raw")

    @property
    def shift(self) -> int:
        """bbox_shift where it counts."""
        return self.bbox_shift if self.version == "1.0" else 0

    @property
    def margin(self) -> int:
        """extra_margin where it counts."""
        return self.extra_margin if self.version == "1.5" else 0

    def key(self) -> str:
        """Equal where the prepared data are: what has no effect is left out."""
        counts: dict[str, Any] = {
            "recipe": _RECIPE,
            "version": self.version,
            "shift": self.shift,
            "calibration": self.calibration,
            "margin": self.margin,
            "mode": self.mode,
            "cheek_width": self.cheek_width if self.mode == "jaw" else None,
        }
        return hashlib.sha256(json.dumps(counts, sort_keys=True).encode()).hexdigest()


class AvatarSettingsError(Exception):
    """An avatar's own settings cannot be used; str() names the file and what is wrong."""


def own_of_avatar(folder: Path) -> dict[str, Any]:
    """What an avatar has of its own in `folder`/settings.json (its `musetalk` folder); {}: nothing.

    Raises AvatarSettingsError.
    """
    path = folder / FILE
    try:
        changes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AvatarSettingsError(f"{path}: {error}") from error
    if not isinstance(changes, dict):
        raise AvatarSettingsError(f"{path}: it holds no object")
    return changes


def of_avatar(folder: Path, server: MuseTalkSettings) -> MuseTalkSettings:
    """The server's settings with what the avatar changes. Raises AvatarSettingsError."""
    changes = own_of_avatar(folder)
    return _checked(folder / FILE, {**server.model_dump(), **changes}) if changes else server


def write_of_avatar(folder: Path, changes: dict[str, Any]) -> None:
    """Give an avatar settings of its own; {} takes them away. Raises AvatarSettingsError, OSError."""
    path = folder / FILE
    if not changes:
        path.unlink(missing_ok=True)
        return
    kept = _checked(path, changes).model_dump(include=set(changes))
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.{os.getpid()}.part"
    try:
        part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _checked(path: Path, values: dict[str, Any]) -> MuseTalkSettings:
    try:
        return MuseTalkSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AvatarSettingsError(f"{path}: {where}: {first['msg']}") from error
