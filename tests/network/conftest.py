"""Schools and students in networks of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.network.namespaces import Namespace, Network
from tests.pages.conftest import open_page

__all__ = ["open_page"]

HTTP = 9000
START_SECONDS = 90.0
WATCH_SECONDS = 60.0


@asynccontextmanager
async def school(folder: Path, machine: Namespace, host: str, hosts: list[str], **webrtc: Any) -> AsyncIterator[None]:
    """A server on that machine and address, reached under `hosts`."""
    given = {"host": host, "port": HTTP, "folder": str(folder), "hosts": [host, *hosts], "webrtc": webrtc}
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *machine.command(sys.executable, "-m", "tests.network.school", json.dumps(given)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=_environment(),
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                assert process.stdout is not None
                async for line in process.stdout:
                    if line.strip() == b"ready":
                        break
                else:
                    raise AssertionError((folder / "log").read_text()[-2000:])
            reading = asyncio.create_task(process.stdout.read())  # or its log fills the pipe
            yield
        finally:
            await _end(process)
        await reading


async def watch(machine: Namespace, url: str, viewers: int = 1, seconds: float = 25.0, **more: Any) -> dict[str, Any]:
    """Viewers on that machine: see tests.network.watcher."""
    usual = {"a_session": 8, "kinds": ["audio", "video"], "frames": 10}
    given = {"url": url, "viewers": viewers, "seconds": seconds, **usual, **more}
    process = await asyncio.create_subprocess_exec(
        *machine.command(sys.executable, "-m", "tests.network.watcher", json.dumps(given)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    try:
        async with asyncio.timeout(WATCH_SECONDS + 2 * seconds + 5 * viewers):
            told, wrong = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode == 0, wrong.decode()[-3000:]
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _environment() -> dict[str, str]:
    from server.settings import OPERATOR_NAMES

    return {name: value for name, value in os.environ.items() if name not in OPERATOR_NAMES}


@asynccontextmanager
async def forwarding(machine: Namespace, listen: tuple[str, int], to: tuple[str, int]) -> AsyncIterator[None]:
    """A reverse proxy on that machine: TCP from one of its sides to the other."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out = machine.tcp()
        await asyncio.get_running_loop().sock_connect(out, to)
        there, back = await asyncio.open_connection(sock=out)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    listening = machine.tcp()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(listen)
    server = await asyncio.start_server(connected, sock=listening)
    try:
        yield
    finally:
        server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network() -> AsyncIterator[Network]:
    with Network() as made:
        yield made
