"""The process: it starts, says where it is, writes no secrets, and stops in good order."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import ROOT
from tests.server.conftest import add_ready

LIMIT = 40.0


class Process:
    """`run.py serve` with its output as it comes."""

    def __init__(self, folder: Path, *arguments: str, command: list[str] | None = None) -> None:
        config = folder / "config.yaml"
        config.write_text("server: {log_format: json}\navatars: {dir: avatars}\n")
        self.popen = subprocess.Popen(
            command or [sys.executable, str(ROOT / "run.py"), "--config", str(config), "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._new:
                self.lines.append(line)
                self._new.notify_all()

    def line(self, text: str, limit: float = LIMIT) -> str:
        with self._new:
            assert self._new.wait_for(lambda: any(text in line for line in self.lines), limit), self.lines
            return next(line for line in self.lines if text in line)

    def end(self, limit: float = LIMIT) -> int:
        code = self.popen.wait(limit)
        self._reader.join(limit)
        return code


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait(LIMIT)


def test_it_serves_until_it_is_told_to_stop(started: list[Process], tmp_path: Path) -> None:
    add_ready(tmp_path / "avatars", "ada")
    process = Process(tmp_path, "--port", "0")
    started.append(process)
    url = process.line("student page").split()[-1]
    assert process.line("teacher page").split()[-1] == f"{url}teacher"
    assert process.line("operations").split()[-1] == f"{url}admin"
    process.line("Ctrl+C")
    shown = [word for line in process.lines for word in line.split() if word.startswith(url) and line.startswith("  ")]
    assert len(shown) == 4
    for address in shown:
        with urllib.request.urlopen(address, timeout=LIMIT) as answer:
            assert answer.status == 200, address
    assert json.loads(process.line("engine_chosen"))["engine"] == "warp"
    token = "a-token-that-must-not-be-logged"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}ws/nobody?token={token}", timeout=LIMIT)
    with urllib.request.urlopen(f"{url}v1/avatars", timeout=LIMIT) as answer:
        assert json.load(answer)["avatars"] == ["ada"]
    logged = json.loads(process.line('"/v1/avatars"'))
    assert (logged["event"], logged["status"], logged["method"]) == ("request", 200, "GET")
    process.popen.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.end() == 0
    assert time.monotonic() - begun < 10  # 5 s on a machine that is not busy with other tests
    assert token not in "".join(process.lines)
    assert not any("Traceback" in line for line in process.lines)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken_is_told_with_a_command_that_works(
    started: list[Process], tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    add_ready(tmp_path / "avatars", "ada")
    process = Process(tmp_path, "--port", str(taken))
    started.append(process)
    assert process.end() == 1
    text = "".join(process.lines)
    assert f"port {taken} is in use" in text
    assert "Traceback" not in text
    command = shlex.split(process.lines[-1])
    assert command[-4:-1] == [str(tmp_path / "config.yaml"), "serve", "--port"]
    typed = Process(tmp_path, command=command)
    started.append(typed)
    assert typed.line("student page").split()[-1] == f"http://127.0.0.1:{command[-1]}/"


def test_who_used_make_is_told_a_command_with_make(
    started: list[Process], tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_ready(tmp_path / "avatars", "ada")
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("LECTERN_SERVER__PORT", str(taken))
    process = Process(tmp_path)
    started.append(process)
    assert process.end() == 1
    assignment, *command = process.lines[-1].split()
    assert command == ["make", "run"]
    name, _, port = assignment.partition("=")
    assert name == "LECTERN_SERVER__PORT"
    monkeypatch.setenv(name, port)  # what make hands on
    again = Process(tmp_path)
    started.append(again)
    assert again.line("student page").split()[-1] == f"http://127.0.0.1:{port}/"


def test_wrong_settings_are_told(started: list[Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_SESSIONS", "many")
    process = Process(tmp_path, "--port", "0")
    started.append(process)
    assert process.end() == 1
    assert "sessions.max_sessions" in "".join(process.lines)
