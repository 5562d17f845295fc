"""A MuseTalk installation on disk: which files it has, which are missing, and how to get them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Version = Literal["1.5", "1.0"]

FETCH_COMMAND = ".venv/bin/python run.py models fetch musetalk"

_UNET: dict[Version, tuple[str, str]] = {
    "1.5": ("musetalkV15/musetalk.json", "musetalkV15/unet.pth"),
    "1.0": ("musetalk/musetalk.json", "musetalk/pytorch_model.bin"),
}
_VAE = ("sd-vae/config.json", "sd-vae/diffusion_pytorch_model.bin")
_PARSER = "face-parse-bisent/79999_iter.pth"
_WHISPER = ("whisper/config.json", "whisper/pytorch_model.bin", "whisper/preprocessor_config.json")


class InstallationError(Exception):
    """Files are missing or wrong; str() names each one and the command that fetches it."""


def wrong(path: Path, what: str) -> InstallationError:
    """The error of one file."""
    return InstallationError(f"{path}: {what}\nGet it anew with: {FETCH_COMMAND}")


@dataclass(frozen=True, slots=True)
class Installation:
    """Paths of the files that rendering needs, all present; JSON files are parsed.

    parser_weights: BiSeNet's, for blend masks; none: they are drawn from landmarks.
    """

    version: Version
    unet_config: dict[str, Any]
    unet_weights: Path
    vae_config: dict[str, Any]
    vae_weights: Path
    whisper_config: dict[str, Any]
    whisper_weights: Path
    whisper_features: dict[str, Any]
    parser_weights: Path | None = None


def find(base: Path, version: Version = "1.5") -> Installation:
    """The installation under `base` (MUSETALK_BASE, which holds `models/`). Raises InstallationError."""
    models = base / "models"
    names = (*_UNET[version], *_VAE, *_WHISPER)
    wrong = [problem for name in names if (problem := _problem(models / name)) is not None]
    if wrong:
        listed = "\n".join(f"  {problem}" for problem in wrong)
        raise InstallationError(f"MuseTalk {version} cannot be loaded:\n{listed}\nGet the files with: {FETCH_COMMAND}")
    unet, vae, whisper = _UNET[version], _VAE, _WHISPER
    return Installation(
        version=version,
        unet_config=_json(models / unet[0]),
        unet_weights=models / unet[1],
        vae_config=_json(models / vae[0]),
        vae_weights=models / vae[1],
        whisper_config=_json(models / whisper[0]),
        whisper_weights=models / whisper[1],
        whisper_features=_json(models / whisper[2]),
        parser_weights=models / _PARSER if (models / _PARSER).is_file() else None,
    )


def _problem(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: missing"
    if path.stat().st_size == 0:
        return f"{path}: empty"
    if path.suffix == ".json":
        try:
            _json(path)
        except (OSError, ValueError) as error:
            return f"{path}: not a JSON object ({error})"
    return None


def _json(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("it holds no object")
    return data
