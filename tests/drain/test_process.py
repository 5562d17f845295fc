"""The process and its signals: settings read again, a drain that is told and waited for, and no second wait."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.server.conftest import add_ready
from tests.server.test_main import Process

LIMIT = 100.0  # s; a machine that is busy with other tests takes half of it to start
pytestmark = pytest.mark.timeout(4 * LIMIT)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setenv("LECTERN_SERVER__DRAIN_SECONDS", "3600")
    add_ready(tmp_path / "avatars", "ada")
    words = ["-m", "tests.drain.pretended", "--config", str(tmp_path / "config.yaml"), "serve", "--port", "0"]
    made = Process(tmp_path, command=[sys.executable, *words])
    yield made
    if made.popen.poll() is None:
        made.popen.kill()
        made.popen.wait(LIMIT)


async def test_its_signals(process: Process, tmp_path: Path) -> None:
    url = (await asyncio.to_thread(process.line, "student page", LIMIT)).split()[-1].rstrip("/")
    config = tmp_path / "config.yaml"
    right = config.read_text()

    config.write_text(right + "sessions: {max_sessions: many}\n")
    process.popen.send_signal(signal.SIGHUP)
    told = json.loads(await asyncio.to_thread(process.line, "settings_not_reloaded", LIMIT))
    assert "sessions.max_sessions" in told["why"]

    config.write_text(right + "sessions: {max_sessions: 3}\nvideo: {gop: 99}\n")
    process.popen.send_signal(signal.SIGHUP)
    told = json.loads(await asyncio.to_thread(process.line, "settings_reloaded", LIMIT))
    assert told["changed"] == {"sessions.max_sessions": "8 -> 3"}
    assert told["need_a_restart"] == ["video.gop"]

    body = {"avatar_id": "ada", "student_id": "s1"}
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(LIMIT)) as client:
        async with client.post("/v1/sessions", json=body) as answer:
            assert answer.status == 201, await answer.text()
            made = await answer.json()
        async with client.ws_connect(made["engine_url"]) as socket:
            process.popen.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT):
                while (await socket.receive_json())["type"] != "server_draining":
                    pass
            async with client.post("/v1/sessions", json=body) as answer:
                assert (answer.status, (await answer.json())["code"]) == (503, "draining")
            async with client.get("/readyz") as answer:
                assert answer.status == 503
            assert process.popen.poll() is None
            process.popen.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT):
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    last = message.json()
            assert (last["type"], last["reason"]) == ("session_ended", "shutdown")
    assert await asyncio.to_thread(process.end, LIMIT) == 0  # and not after the hour of the drain
    assert not any("Traceback" in line for line in process.lines)
