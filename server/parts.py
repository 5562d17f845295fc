"""The parts the settings describe: the avatar store, how avatars are built, the lip-sync engine, WebRTC's settings."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avatars.stages import BuildSettings
from avatars.store import AvatarStore
from pipeline.lipsync.engine import LipSyncEngine
from server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from server.rtc.settings import RtcSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine, and why it is this one (a sentence for the log)."""

    engine: LipSyncEngine
    why: str


def avatar_store(settings: Settings) -> AvatarStore:
    """The avatars folder; made if it is missing. Raises SettingsError when it cannot be used."""
    try:
        return AvatarStore(settings.avatars.dir, cache_bytes=round(settings.avatars.cache_gb * 1e9))
    except OSError as error:
        raise SettingsError(f"avatars.dir: {settings.avatars.dir} cannot be used: {error.strerror}") from error


def build_settings(settings: Settings) -> BuildSettings:
    """How the avatar builder works."""
    avatars = settings.avatars
    return BuildSettings(
        max_height=avatars.max_height,
        max_seconds=avatars.max_seconds,
        max_bytes=avatars.max_upload_mb << 20,
        parallel=avatars.parallel_builds,
    )


def rtc_settings(settings: Settings) -> RtcSettings:
    """WebRTC's side of the settings. Raises SettingsError."""
    from server.rtc.settings import RtcSettings

    values = settings.webrtc.model_dump(exclude={"turn_password"})
    try:
        return RtcSettings(**values, turn_password=settings.webrtc.turn_password.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"webrtc: {error}") from error


def choose_engine(settings: Settings) -> Choice:
    """The warp engine, unless MuseTalk is asked for and can run here."""
    from pipeline.lipsync.warp.engine import WarpEngine

    why = "MuseTalk is off (lipsync.enable_musetalk)"
    if settings.lipsync.enable_musetalk:
        why = f"MuseTalk was asked for but cannot run here: {_obstacle(settings.lipsync.musetalk_base)}"
    return Choice(WarpEngine(threads=settings.lipsync.threads), why)


def _obstacle(base: Path | None) -> str:
    """What is in MuseTalk's way, the first thing to mend first."""
    if base is None:
        return "lipsync.musetalk_base (MUSETALK_BASE) names no folder with its models"
    if not base.is_dir():
        return f"the folder {base} (MUSETALK_BASE) does not exist"
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    return "this version of Lectern has no MuseTalk engine"
