"""`run.py avatar prune`: says first, deletes only with --yes."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import run
from avatars.store import AvatarStore
from avatars.usage import MARK
from server import commands
from tests.server.conftest import add_ready

YEAR = timedelta(days=365)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An installation with one avatar that nobody used, one that somebody did, and the sample."""
    root = tmp_path / "avatars"
    for avatar_id in ("ada", "bob", "sample"):
        add_ready(root, avatar_id, created=datetime.now(UTC) - YEAR)
    (root / "bob" / MARK).touch()
    path = tmp_path / "config.yaml"
    path.write_text("avatars: {dir: avatars, import_dirs: []}\n")
    return path


def prune(config: Path, *arguments: str) -> int:
    return commands.run(run.parser().parse_args(["--config", str(config), "avatar", "prune", *arguments]))


def left(config: Path) -> set[str]:
    return {path.name for path in (config.parent / "avatars").iterdir() if not path.name.startswith(".")}


def test_it_says_first_and_deletes_with_yes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(config, "--unused-days", "30") == 0
    said = capsys.readouterr().out
    assert "deletes ada" in said
    assert "keeps   sample" in said
    assert "bob" not in said
    assert "1 avatar of 3" in said
    assert "Nothing was; add --yes" in said
    assert left(config) == {"ada", "bob", "sample"}

    assert prune(config, "--unused-days", "30", "--yes") == 0
    assert "deleted ada" in capsys.readouterr().out
    assert left(config) == {"bob", "sample"}
    assert prune(config, "--unused-days", "30", "--yes", "--include-sample") == 0
    assert left(config) == {"bob"}


def test_what_a_running_server_shows_stays(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = AvatarStore(config.parent / "avatars", cache_bytes=10**9)
    with server.lease("ada"):
        os.utime(config.parent / "avatars" / "bob" / MARK, (time.time() - 90 * 86_400,) * 2)
        assert prune(config, "--unused-days", "30", "--yes") == 0
    assert left(config) == {"ada", "sample"}
    assert "keeps   ada" in capsys.readouterr().out


def test_less_than_a_day_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(config, "--unused-days", "0", "--yes") == 2
    assert capsys.readouterr().err == "--unused-days: write a number of days, at least 1 and at most 36500.\n"
    assert left(config) == {"ada", "bob", "sample"}
