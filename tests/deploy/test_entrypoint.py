"""The container's entry point: Prometheus' key is made once and let in, and every command of run.py can be given."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.server.conftest import add_ready
from tests.server.test_main import Process

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINT = str(ROOT / "deploy" / "docker" / "entrypoint.sh")
LIMIT = 100.0
pytestmark = pytest.mark.timeout(4 * LIMIT)


@pytest.fixture
def started() -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for process in made:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait(LIMIT)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings that the image and the compose file bring, with folders and an address of the test's own."""
    python = Path(sys.executable).parent
    for name, value in {
        "PATH": f"{python}:{os.environ['PATH']}",
        "LECTERN_HOME": str(ROOT),
        "LECTERN_METRICS_KEY_FILE": str(tmp_path / "key"),
        "LECTERN_ACCESS__KEYS_FILE": str(tmp_path / "keys.json"),
        "LECTERN_ACCESS__TOKEN_FILE": str(tmp_path / "token.secret"),
        "AVATARS_DIR": str(tmp_path / "avatars"),
        "LECTERN_SERVER__PORT": "0",
    }.items():
        monkeypatch.setenv(name, value)
    add_ready(tmp_path / "avatars", "ada")
    return tmp_path


def keys(*words: str) -> str:
    done = subprocess.run([ENTRYPOINT, "keys", *words], capture_output=True, text=True, timeout=LIMIT, check=True)
    return done.stdout


async def figures(url: str, key: str | None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as client, client.get(f"{url}metrics", headers=headers) as answer:
        return answer.status


async def test_prometheus_is_let_in_and_nobody_else(started: list[Process], data: Path) -> None:
    process = Process(data, command=[ENTRYPOINT, "serve"])
    started.append(process)
    url = (await asyncio.to_thread(process.line, "student page", LIMIT)).split()[-1]
    key = (data / "key").read_text()
    assert await figures(url, key) == 200
    assert await figures(url, None) == 401
    assert not any(key in line for line in process.lines)
    listed = await asyncio.to_thread(keys, "list")
    assert "service" in listed
    assert listed.count("prometheus") == 1
    process.popen.terminate()
    assert await asyncio.to_thread(process.end, LIMIT) == 0


def test_a_key_that_is_there_stays(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at a start that fails, here because the port is taken: what comes before that is what counts."""
    made = keys("add", "--role", "service", "--name", "prometheus")
    (data / "key").write_text(made)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("LECTERN_SERVER__PORT", str(other.getsockname()[1]))
        done = subprocess.run([ENTRYPOINT, "serve"], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert "is in use" in done.stderr
    assert (data / "key").read_text() == made
    assert keys("list").count("prometheus") == 1


def test_a_key_that_cannot_be_made_is_told(data: Path) -> None:
    (data / "keys.json").write_text("no JSON")
    done = subprocess.run([ENTRYPOINT, "serve"], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode != 0
    assert "keys.json" in done.stderr
    assert not (data / "key").exists() or not (data / "key").read_text()
