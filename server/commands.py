"""What each command of run.py does; each returns the process's exit code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from avatars.errors import AvatarError
from avatars.record import AvatarRecord
from server.settings import Settings, SettingsError, load

_STAGES = {
    "queued": "waiting",
    "checking": "checking the video",
    "decoding": "reading the video",
    "finding_face": "finding the face",
    "preparing_engine": "preparing the mouth",
    "saving": "saving",
    "done": "ready",
}


def run(arguments: argparse.Namespace) -> int:
    """Load the settings and do what was asked; problems of the world are told in a sentence, without a traceback."""
    try:
        return _COMMANDS[arguments.command](_settings(arguments), arguments)
    except (SettingsError, AvatarError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _settings(arguments: argparse.Namespace, *, again: bool = False) -> Settings:
    """The settings, with what the command line changes. Raises SettingsError."""
    overrides: dict[str, dict[str, object]] = {}
    for name in ("host", "port"):
        value = getattr(arguments, name, None)
        if value is not None:
            overrides.setdefault("server", {})[name] = value
    return load(Path(arguments.config) if arguments.config else None, overrides=overrides, again=again)


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.main import serve

    return serve(settings, lambda: _settings(arguments, again=True))


def _avatar(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.parts import avatar_store

    store = avatar_store(settings)
    if arguments.action == "list":
        records = store.list()
        if not records:
            print("There are no avatars yet. Make one: run.py avatar create ID VIDEO", file=sys.stderr)
        for record in records:
            print(
                f"{record.id:24} {record.state:10} {record.frames / record.fps:5.1f} s  {record.width}x{record.height}"
            )
        return 0
    if arguments.action == "delete":
        store.delete(arguments.id)
        print(f"{arguments.id} is deleted.")
        return 0
    if arguments.action == "prune":
        from server.admin.commands import prune
        from server.records.address import address_of
        from server.records.offline import links

        return prune(store, arguments, lambda: links(settings), address_of(settings).shown)
    if arguments.action == "import":
        from server.musetalk_commands import import_avatar

        return import_avatar(settings, arguments)
    if arguments.action == "musetalk":
        from server.musetalk_commands import avatar_settings

        return avatar_settings(settings, arguments)
    return _create(settings, arguments)


def _create(settings: Settings, arguments: argparse.Namespace) -> int:
    from avatars.cli import create
    from server.parts import avatar_store, build_settings, choose_engine

    if not Path(arguments.video).is_file():
        print(f"{arguments.video}: there is no such file", file=sys.stderr)
        return 1
    engine = choose_engine(settings).engine
    bar = Bar()
    try:
        record = create(
            avatar_store(settings),
            build_settings(settings),
            engine.prepare,
            arguments.id,
            Path(arguments.video),
            bar.show,
            tutor_id=arguments.tutor or arguments.id,
            apply_blur=arguments.blur,
            consent=True,
        )
    finally:
        bar.end()
        engine.close()
    print(f"{record.id} is ready: {record.frames / record.fps:.1f} s, {record.width}x{record.height}")
    for finding in record.quality.findings if record.quality else ():
        print(f"  {finding.severity}: {finding.message}")
    return 0


class Bar:
    """A progress bar on a terminal; where there is none, a line for each new stage."""

    WIDTH = 30

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._stage = ""

    def show(self, record: AvatarRecord) -> None:
        words = _STAGES.get(record.stage, record.stage)
        if self._live:
            full = round(record.progress * self.WIDTH)
            print(
                f"\r[{'#' * full:<{self.WIDTH}}] {record.progress:4.0%} {words:24}", end="", file=sys.stderr, flush=True
            )
        elif record.stage != self._stage:
            print(f"{record.progress:4.0%} {words}", file=sys.stderr, flush=True)
        self._stage = record.stage

    def end(self) -> None:
        if self._live and self._stage:
            print(file=sys.stderr)


def _models(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.what == "musetalk":
        from server.musetalk_commands import fetch_models

        return fetch_models(settings, arguments)
    if arguments.what == "asr":
        from server.listening_commands import fetch_model

        return fetch_model(settings, arguments)
    from avatars.models import FetchFailed, fetch

    try:
        found = fetch(progress=print)
    except FetchFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The face models are in {found.landmarks.parent}.")
    return 0


def _keys(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.access.commands import keys

    return keys(settings, arguments)


def _doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.doctor import closing, examine, report

    findings = examine(settings)
    print(report(findings))
    print(f"\n{closing(findings, settings)}")
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _bench(settings: Settings, arguments: argparse.Namespace) -> int:
    from bench.__main__ import main

    return int(main(arguments.names))


_COMMANDS = {"serve": _serve, "avatar": _avatar, "keys": _keys, "models": _models, "doctor": _doctor, "bench": _bench}
