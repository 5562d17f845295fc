"""The commands that are MuseTalk's: fetching its models, taking over its avatars."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from avatars.avatar import Avatar
from avatars.errors import AvatarError
from avatars.record import AvatarRecord
from pipeline.hub.fetch import FetchError
from pipeline.lipsync.engine import Progress
from pipeline.lipsync.musetalk.fetch import fetch
from pipeline.lipsync.musetalk.installation import Version
from server.fetch_bars import FetchBars
from server.settings import ROOT, Settings

DEFAULT_BASE = ROOT / "models" / "musetalk"


def fetch_models(settings: Settings, arguments: argparse.Namespace) -> int:
    """`models fetch musetalk`: 1 when a file that is needed could not be had."""
    base = Path(arguments.base).expanduser().resolve() if arguments.base else settings.lipsync.musetalk_base
    base = base or DEFAULT_BASE
    bars = FetchBars(sys.stderr)
    try:
        without = fetch(base, bars.show, versions=arguments.version or ("1.5", "1.0"))
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        bars.end()
    for line in without:
        print(f"{line}\n  MuseTalk runs without it: the blend masks are then drawn from landmarks.")
    print(f"MuseTalk's files are in {base}.")
    if settings.lipsync.musetalk_base != base:
        print(f"Use them with: MUSETALK_BASE={base} ENABLE_MUSETALK=true")
    return 0


def import_avatar(settings: Settings, arguments: argparse.Namespace) -> int:
    """`avatar import`: an ordinary avatar of the folder's pictures, with the folder's own data for MuseTalk."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        print(f"{folder}: there is no such folder", file=sys.stderr)
        return 1
    if importlib.util.find_spec("torch") is None:
        print("torch is needed to read latents.pt: .venv/bin/pip install -r requirements-gpu.txt", file=sys.stderr)
        return 1
    from avatars.cli import create
    from pipeline.lipsync.musetalk import prepared, reference_avatar
    from pipeline.lipsync.musetalk.settings import write_of_avatar
    from pipeline.lipsync.warp.engine import WarpEngine
    from server.commands import Bar
    from server.parts import avatar_store, build_settings

    try:
        source = reference_avatar.read(folder)
    except reference_avatar.ImportRefused as error:
        print(error, file=sys.stderr)
        return 1
    version: Version = arguments.version or source.version or settings.musetalk.version
    changes: dict[str, Any] = {"bbox_shift": source.bbox_shift} if source.bbox_shift else {}
    key = settings.musetalk.model_copy(update={"version": version, **changes}).key()
    warp = WarpEngine(threads=settings.lipsync.threads)  # MuseTalk's engine needs its data too

    def prepare(avatar: Avatar, progress: Progress) -> None:
        warp.prepare(avatar, progress)
        own = avatar.path / prepared.FOLDER
        write_of_avatar(own, changes)
        prepared.save(reference_avatar.prepare(source, avatar, version, key), own)

    store = avatar_store(settings)
    bar = Bar()
    try:
        with tempfile.TemporaryDirectory(prefix="import-", dir=store.uploads, ignore_cleanup_errors=True) as scratch:
            clip = Path(scratch) / "clip.mkv"
            print(f"{len(source.pictures)} frames of {source.width}x{source.height}, for MuseTalk {version}")
            reference_avatar.write_clip(source, clip, lambda share: bar.show(_copying(arguments.id, share)))
            record = create(
                store,
                dataclasses.replace(build_settings(settings), max_bytes=shutil.disk_usage(scratch).total),
                prepare,
                arguments.id,
                clip,
                bar.show,
                tutor_id=arguments.tutor or arguments.id,
                consent=True,
            )
    except reference_avatar.ImportRefused as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        bar.end()
        warp.close()
    print(f"{record.id} is ready: {record.frames / record.fps:.1f} s, {record.width}x{record.height}")
    if record.frames < len(source.pictures):
        print(f"  its first {record.frames} frames: avatars.max_seconds is {settings.avatars.max_seconds:g}")
    if version != settings.musetalk.version:
        print(f"  made for {version}, while musetalk.version is {settings.musetalk.version}: it will be prepared anew")
    return 0


def _copying(avatar_id: str, share: float) -> AvatarRecord:
    return AvatarRecord(id=avatar_id, stage="copying the pictures", progress=share)


def avatar_settings(settings: Settings, arguments: argparse.Namespace) -> int:
    """`avatar musetalk`: an avatar's own of the settings `musetalk`; a change counts when it is opened next."""
    from pipeline.lipsync.musetalk import prepared
    from pipeline.lipsync.musetalk.settings import AvatarSettingsError, of_avatar, own_of_avatar, write_of_avatar
    from server.parts import avatar_store

    store = avatar_store(settings)
    if store.get(arguments.id).state != "ready":
        raise AvatarError("not_ready")
    folder = store.folder(arguments.id) / prepared.FOLDER
    try:
        own = own_of_avatar(folder)
        for change in arguments.changes:
            name, found, value = change.partition("=")
            if not found:
                raise AvatarSettingsError(f"{change}: write it as NAME=VALUE")
            if value:
                own[name] = value
            else:
                own.pop(name, None)
        if arguments.changes:
            write_of_avatar(folder, own)
        effective = of_avatar(folder, settings.musetalk)
    except AvatarSettingsError as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in effective.model_dump().items():
        print(f"{name:14} {'-' if value is None else value!s:8} {'its own' if name in own else ''}".rstrip())
    return 0
