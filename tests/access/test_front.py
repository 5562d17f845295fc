"""Connections and requests that are meant to harm: slow, endless, too large, packed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession, web

from server import front
from server.access import key_file
from server.app import build_app
from server.front import runner_of
from server.settings import Settings
from tests.access.conftest import Found
from tests.server.conftest import add_ready
from tests.server.fakes import FakeEngine, FakeSession, quiet_book

Served = tuple[str, int, str]
"""Address, port, a service's key."""


@pytest.fixture
async def served(settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """The server as `serve` runs it, with little patience."""
    monkeypatch.setattr(front, "KEEPALIVE_SECONDS", 1.0)
    settings = settings_for()
    add_ready(settings.avatars.dir, "ada")
    _, key = key_file.add(settings.access.keys_file, "service", "")
    app: web.Application = build_app(settings, engine=FakeEngine(), book=quiet_book(), live=FakeSession)  # type: ignore[arg-type]
    runner = runner_of(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}", port, key
    finally:
        await runner.cleanup()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def test_a_head_that_drips_is_cut_off(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[1])

    async def drip() -> None:
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    try:
        assert await until_closed(reader) == b""
    finally:
        dripping.cancel()
        writer.close()


async def test_idle_connections_are_cut_off_and_hinder_nobody(served: Served) -> None:
    held = [await asyncio.open_connection("127.0.0.1", served[1]) for _ in range(400)]
    try:
        async with ClientSession() as client, client.get(f"{served[0]}/health") as answer:
            assert answer.status == 200
        await asyncio.gather(*(until_closed(reader) for reader, _ in held))
    finally:
        for _, writer in held:
            writer.close()


def bomb(megabytes: int) -> bytes:
    """Zeros, as gzip: a thousandth of their size. In members of 16 MB, of which it may have many."""
    packer = zlib.compressobj(9, wbits=31)
    return (packer.compress(bytes(16 << 20)) + packer.flush()) * (megabytes // 16)


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_body_that_unpacks_to_a_gigabyte_is_not_unpacked(served: Served, with_key: bool) -> None:
    url, _, key = served
    packed = bomb(1024)
    assert len(packed) < 1_100_000
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    if with_key:
        headers["Authorization"] = f"Bearer {key}"
    process = psutil.Process()
    before, memory = time.process_time(), process.memory_info().rss
    async with ClientSession() as client:
        for path in ("/v1/sessions", "/v1/avatars", "/v1/avatars/upload", "/v1/tutors"):
            kind = "multipart/form-data; boundary=x" if path.endswith("upload") else "application/json"
            async with client.post(url + path, data=packed, headers={**headers, "Content-Type": kind}) as answer:
                assert answer.status == (415 if with_key else 401), path
    used = time.process_time() - before
    assert used < 2.0, f"{used:.1f} s of CPU: unpacking four times takes more than three"
    assert process.memory_info().rss - memory < 200 << 20


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(400)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n{",
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 4000,
    ],
    ids=["long path", "long line", "many lines", "smuggled", "two lengths", "bad chunk", "TLS", "zeros"],
)
async def test_a_head_that_is_none_is_refused_and_closed(served: Served, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[1])
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            await writer.drain()
        answer = await until_closed(reader)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 401")), answer[:200]
        assert answer.count(b"HTTP/1.") <= 1  # not two requests out of one
    finally:
        writer.close()
    async with ClientSession() as client, client.get(f"{served[0]}/health") as found:
        assert found.status == 200


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "1" * 500_000, '{"student_id": NaN}'])
async def test_json_that_is_meant_to_harm_is_refused(school: Found, body: str) -> None:
    there = await school()
    headers = {"Content-Type": "application/json"}
    answer = await there.ask("POST", "/v1/sessions", "service", data=body, headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (400, "invalid_json")


async def test_no_route_takes_a_body_without_end(school: Found) -> None:
    """Three megabytes, of which nobody says how many they will be, to every route that changes something."""
    there = await school(access={"requests_per_minute": 0, "uploads_per_minute": 0})
    session = await there.session()

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"text": "'
        for _ in range(48):
            yield b"a" * 65_536
        yield b'"}'

    ids = {"session_id": session["session_id"], "avatar_id": "ada"}
    too_large = set()
    for route in there.server.app.router.routes():
        if route.method in ("GET", "HEAD", "OPTIONS", "DELETE") or route.resource is None:
            continue
        path = re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], "none"), route.resource.canonical)
        shown = session["engine_token"] if "/whep" in path or path.endswith("/rtvi") else "admin"
        for kind in ("application/json", "application/sdp", "application/trickle-ice-sdpfrag"):
            headers = {"Content-Type": kind, "If-Match": "*"}
            answer = await there.ask(route.method, path, shown, data=endless(), headers=headers)
            body = await answer.read()
            assert answer.status < 500 or b'"internal_error"' not in body, (route.method, path, body)
            if answer.status == 413:
                too_large.add(f"{route.method} {route.resource.canonical}")
    assert len(too_large) >= 12, too_large
    assert {
        "POST /v1/sessions",
        "POST /v1/sessions/{session_id}/say",
        "POST /v1/sessions/{session_id}/whep",
    } <= too_large


def test_as_many_files_as_the_system_lets_be_open() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        front.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(front.FILES, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_websocket_takes_nothing_packed(served: Served) -> None:
    url, _, key = served
    async with ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:
        async with client.post(f"{url}/v1/sessions", json={"avatar_id": "ada", "student_id": "s"}) as answer:
            made: dict[str, Any] = await answer.json()
        async with client.ws_connect(url + made["engine_url"], compress=15, headers={"Authorization": ""}) as socket:
            assert socket.compress == 0
