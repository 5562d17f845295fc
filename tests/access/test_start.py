"""Which server starts: one of this machine only, or one that has a key."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from server.access import key_file
from server.access.start import open_keys, open_tokens
from server.settings import ROOT, Settings, SettingsError

Make = Callable[..., Settings]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_a_server_of_this_machine_needs_no_key(settings_for: Make, host: str) -> None:
    assert not open_keys(settings_for(server={"host": host})).needed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "school.example"])
def test_a_server_that_others_reach_needs_one(settings_for: Make, tmp_path: Path, host: str) -> None:
    settings = settings_for(server={"host": host})
    with pytest.raises(SettingsError, match="keys add --role admin"):
        open_keys(settings)
    assert open_keys(settings_for(server={"host": host, "api_key": "of the operator"})).needed
    key_file.add(settings.access.keys_file, "admin", "")
    assert open_keys(settings).needed


def test_it_does_not_start_and_says_how_to_make_a_key(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {host: 0.0.0.0}\navatars: {dir: avatars}\n")

    def serve() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "run.py"), "--config", str(config), "serve", "--port", "0"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LECTERN_SERVER")}
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=90)

    ended = serve()
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    command = shlex.split(ended.stderr.splitlines()[-1])
    made = subprocess.run(command, capture_output=True, text=True, timeout=90)  # as it can be typed
    assert made.stdout.startswith("lk_")
    assert (tmp_path / "data" / "keys.json").is_file()


def test_files_that_cannot_be_trusted_stop_the_start(settings_for: Make, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(SettingsError, match=r"access\.keys_file: .*damaged"):
        open_keys(settings_for())
    (tmp_path / "token.secret").write_text("x")
    with pytest.raises(SettingsError, match=r"access\.token_file: .*damaged"):
        open_tokens(settings_for().access)
