"""The parts the settings describe: avatar store, avatar builder, lip-sync engine, language model, personas, WebRTC."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from avatars.stages import BuildSettings
from avatars.store import AvatarStore
from pipeline.language_model import LanguageModel, OpenAIModel, Repeater
from pipeline.lipsync.engine import LipSyncEngine
from pipeline.lipsync.musetalk.installation import Version
from pipeline.persona import Persona
from server.limits import Limits
from server.recorder.limits import Limits as RecordingLimits
from server.recorder.outputs import Outputs
from server.recorder.recorder import Recorder
from server.recorder.shelf import Shelf
from server.setting_groups import LipSyncSettings, TutorSettings
from server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pipeline.lipsync.musetalk.messages import WorkerSettings
    from server.rtc.settings import RtcSettings


_NEEDED = ("torch", "diffusers", "transformers", "safetensors", "PIL")
"""What MuseTalk needs beyond requirements.txt, as it is imported."""


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

    values: dict[str, Any] = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.webrtc.model_dump().items()
    }
    try:
        return RtcSettings(**values)
    except ValueError as error:
        raise SettingsError(f"webrtc: {error}") from error


def recorder(settings: Settings) -> Recorder:
    """What records sessions."""
    given = settings.recording
    limits = RecordingLimits(
        seconds=given.max_seconds,
        total=round(given.max_gb * 1e9),
        free=round(given.least_free_gb * 1e9),
        days=given.retention_days,
    )
    return Recorder(Shelf(given.dir), limits, enabled=given.enabled, codec=settings.video.codec)


def session_limits(settings: Settings) -> Limits:
    """What admission goes by."""
    own = settings.sessions
    return Limits(
        max_sessions=own.max_sessions,
        first=own.first_seconds,
        leave=own.leave_seconds,
        timeout=own.timeout_seconds,
        max_waiting=own.max_waiting,
        max_seconds=own.max_seconds,
        idle=own.idle_seconds,
        max_cpu=own.max_cpu_percent,
        max_loop=own.max_loop_percent,
        max_late=own.max_late_ms / 1000,
        speaking_share=own.speaking_share,
    )


def outputs(settings: Settings, rtc: RtcSettings) -> Outputs:
    """What sends sessions on to other servers."""
    given = settings.outputs
    return Outputs(
        given.allowed_hosts,
        most=given.max_per_session,
        give_up=given.give_up_seconds,
        codec=settings.video.codec,
        rtc=rtc,
    )


def language_model(settings: Settings) -> LanguageModel:
    """The model that is set, or one that repeats."""
    client = settings.model.client()
    return Repeater() if client is None else OpenAIModel(client)


def persona_of(settings: Settings, *names: str, own: TutorSettings) -> Persona:
    """Who the tutor is: as `own` says, else as config.yaml does by the first of its names, else as for all."""
    model = settings.model
    written = next((model.tutors[name] for name in names if name in model.tutors), TutorSettings())
    return Persona(
        text=own.persona or written.persona or model.persona,
        language=own.language or written.language or model.language or None,
        voice=own.voice or written.voice,
        model=own.model or written.model,
    )


def choose_engine(settings: Settings) -> Choice:
    """The warp engine, unless MuseTalk is asked for and can run here."""
    from pipeline.lipsync.warp.engine import WarpEngine

    lipsync = settings.lipsync
    warp = WarpEngine(threads=lipsync.threads)
    if not lipsync.enable_musetalk:
        return Choice(warp, "MuseTalk is off (lipsync.enable_musetalk)")
    obstacle = musetalk_obstacle(lipsync.musetalk_base, settings.musetalk.version)
    if obstacle is not None or lipsync.musetalk_base is None:
        return Choice(warp, f"MuseTalk was asked for but cannot run here: {obstacle}")
    from pipeline.lipsync.musetalk.engine import MuseTalkEngine

    worker = musetalk_worker(lipsync, lipsync.musetalk_base, settings.musetalk.version)
    return Choice(MuseTalkEngine(worker, warp, settings.musetalk), f"MuseTalk, from {lipsync.musetalk_base}")


def musetalk_worker(lipsync: LipSyncSettings, base: Path, version: Version) -> WorkerSettings:
    """How MuseTalk's worker process is to work."""
    from pipeline.lipsync.musetalk.messages import WorkerSettings

    precision = None if lipsync.musetalk_precision == "auto" else lipsync.musetalk_precision
    threads = max(1, (os.cpu_count() or 2) - 1)
    return WorkerSettings(base, version, lipsync.musetalk_device, precision, threads=threads)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What is in an engine's way. cause: stable, for pages in other languages. why: what to mend, by its names here."""

    cause: Literal["no_base", "no_folder", "not_installed", "incomplete"]
    why: str

    def __str__(self) -> str:
        return self.why


def musetalk_obstacle(base: Path | None, version: Version) -> Obstacle | None:
    """What is in MuseTalk's way, the first thing to mend first; None: nothing."""
    if base is None:
        return Obstacle("no_base", "lipsync.musetalk_base (MUSETALK_BASE) names no folder with its models")
    if not base.is_dir():
        return Obstacle("no_folder", f"the folder {base} (MUSETALK_BASE) does not exist")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        why = f"{', '.join(missing)} not installed: .venv/bin/pip install -r requirements-gpu.txt"
        return Obstacle("not_installed", why)
    from pipeline.lipsync.musetalk.installation import InstallationError, find

    try:
        find(base, version)
    except InstallationError as error:
        return Obstacle("incomplete", str(error))
    return None
