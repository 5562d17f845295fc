"""No secret in the log, whatever is sent and whatever fails: a whole run, at its most talkative."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from server.access import key_file
from server.settings import ROOT
from tests.server.conftest import add_ready

LIMIT = 200.0  # for the start of a process on a machine that is busy with other tests

CONFIGURED = {
    "LECTERN_SERVER__API_KEY": "an-operators-key-5150",
    "LECTERN_MODEL__API_KEY": "a-models-key-5151",
    "WEBRTC_TURN_PASSWORD": "a-turn-password-5152",
    "LECTERN_ACCESS__TOKEN_SECRET": "the-secret-of-tokens-5153-5153-5153",
}
QUESTION = "May I tell you a secret?"
SENT = {"wrong key": "lk_wrongkey_" + "w" * 43, "wrong token": "a.wrong.token-5154", "cookie": "a-cookie-5155"}


class Run:
    """A server, and all that it writes."""

    def __init__(self, folder: Path) -> None:
        config = folder / "config.yaml"
        config.write_text(
            "server: {log_level: debug}\navatars: {dir: avatars}\naccess: {keys_file: keys.json}\n"
            "model: {base_url: 'http://127.0.0.1:9/v1', name: none}\n"
            "webrtc: {turn_server: 'turn:127.0.0.1:9', turn_username: somebody}\n"
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.access.talkative", str(config)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **CONFIGURED},
            )

    async def url(self) -> str:
        async with asyncio.timeout(LIMIT):
            while "listening: " not in self.log.read_text():
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.1)
        return next(line.split()[-1] for line in self.log.read_text().splitlines() if line.startswith("listening: "))

    async def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, LIMIT)
        return self.log.read_text()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Run]:
    add_ready(tmp_path / "avatars", "ada")
    run = Run(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        await asyncio.to_thread(run.process.wait, LIMIT)


@pytest.mark.timeout(400)
async def test_no_secret_of_a_whole_run_is_in_its_log(running: Run, tmp_path: Path) -> None:
    _, key = key_file.add(tmp_path / "keys.json", "service", "")
    url = await running.url()
    secrets = {**CONFIGURED, **SENT, "key": key, "hash": key_file.read(tmp_path / "keys.json").keys[0].hash}
    async with ClientSession(url, cookies={"session": SENT["cookie"]}) as client:

        async def call(method: str, path: str, shown: str, **more: Any) -> Any:
            async with client.request(method, path, headers={"Authorization": f"Bearer {shown}"}, **more) as answer:
                return answer.status, await answer.json() if answer.content_type.endswith(
                    "json"
                ) else await answer.read()

        operator = CONFIGURED["LECTERN_SERVER__API_KEY"]
        new = {"avatar_id": "ada", "student_id": "s"}
        status, made = await call("POST", "/v1/sessions", operator, json=new)
        assert status == 201, made
        token, own = made["engine_token"], f"/v1/sessions/{made['session_id']}"
        secrets["token"] = token
        for server in made["ice_servers"]:
            secrets["turn credential"] = server["credential"]
        _, fresh = await call("POST", f"{own}/token", token)
        secrets["fresh token"] = fresh["engine_token"]
        await call("GET", "/v1/sessions/x%0a2026-01-01T00:00:00Z%20[info]%20a-forged-line", key)
        for shown in (key, token, operator, *SENT.values()):
            for method, path in (
                ("GET", "/v1/avatars"),
                ("GET", f"{own}?token={shown}"),
                ("GET", f"/nothing?token={shown}&key={shown}"),
                ("GET", f"/nothing/{token}"),
                ("POST", f"{own}/whep"),
                ("POST", f"{own}/rtvi?token={shown}"),
                ("POST", f"{own}/ask"),
                ("PUT", f"/v1/sessions?token={shown}"),
                ("GET", "/v1/admin/config"),
            ):
                await call(method, path, shown, data=f'{{"{shown}": "{shown}"')
            with contextlib.suppress(WSServerHandshakeError):
                async with client.ws_connect(f"/ws/{made['session_id']}?token={shown}") as socket:
                    await socket.send_str(f'{{"type": "{shown}"')
                    await socket.send_json({"type": "text", "text": QUESTION})  # the model is not there
                    await asyncio.wait_for(socket.receive(), LIMIT)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))
        writer.write(f"GET /?token={token} HTTP/9.9\r\nAuthorization: Bearer {key}\r\n: {key}\r\n\r\n".encode())
        await asyncio.wait_for(reader.read(), LIMIT)
        writer.close()
    log = await running.stop()
    assert log.count("/v1/avatars") >= 5, log  # the run is in it
    assert "request_unreadable" in log or "BadHttp" in log or "BadStatusLine" in log
    assert "[aiosqlite]" not in log
    assert "a-forged-line" not in log
    assert QUESTION not in log
    found = {name for name, secret in secrets.items() if secret in log}
    assert not found, "\n".join(line for line in log.splitlines() if any(secrets[name] in line for name in found))
