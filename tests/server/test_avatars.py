"""Avatars over HTTP: uploads and imports, their refusals, and what is left behind (nothing)."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from avatars import models
from avatars.record import AvatarRecord, Problem
from server import bodies
from server.keys import BUILDER
from server.settings import ROOT
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, add_ready, problem

BOUNDARY = "boundary-of-the-form"


@pytest.fixture
def face_models() -> None:
    try:
        models.find()
    except models.ModelsMissing as error:
        pytest.skip(str(error))


def form(content: bytes = b"not a video", *, file_first: bool = False, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    if file_first:
        data.add_field("video_file", content, filename="clip.mp4")
    for name, value in fields.items():
        data.add_field(name, value)
    if not file_first:
        data.add_field("video_file", content, filename="clip.mp4")
    return data


async def upload(server: Running, content: bytes = b"not a video", **fields: Any) -> aiohttp.ClientResponse:
    return await server.client.post("/v1/avatars/upload", data=form(content, **fields))


def leftovers(server: Running) -> list[str]:
    return [p.name for folder in (server.store.uploads, server.store.building) for p in folder.iterdir()]


async def test_listing_and_showing(serve: Serve) -> None:
    server = await serve()
    add_ready(server.root, "bob")
    body = await (await server.client.get("/v1/avatars")).json()
    assert (body["total"], body["avatars"]) == (2, ["ada", "bob"])
    assert [item["state"] for item in body["items"]] == ["ready", "ready"]
    shown = await (await server.client.get("/v1/avatars/ada")).json()
    assert (shown["avatar_id"], shown["tutor_id"], shown["frames"]) == ("ada", "t-ada", 3)
    picture = await server.client.get("/v1/avatars/ada/preview.jpg")
    assert picture.content_type == "image/jpeg"
    assert (await picture.read())[:2] == b"\xff\xd8"


@pytest.mark.parametrize("avatar_id", ["nobody", "a%2Fb", "..%2F..%2Fetc", "x" * 300, "%00"])
async def test_avatars_that_are_not_there(serve: Serve, avatar_id: str) -> None:
    server = await serve()
    from yarl import URL

    for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/preview.jpg")):
        url = URL(f"/v1/avatars/{avatar_id}{tail}", encoded=True)
        await problem(await server.client.request(method, url), 404, "not_found")


async def test_the_command_line_deletes_no_avatar_that_a_running_server_shows(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    made = await server.session()
    (tmp_path / "config.yaml").write_text(f"avatars: {{dir: {server.root}}}\n")
    command = [
        sys.executable,
        str(ROOT / "run.py"),
        "--config",
        str(tmp_path / "config.yaml"),
        "avatar",
        "delete",
        "ada",
    ]

    async def delete() -> tuple[int, str, str]:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    sentence = "This avatar is in use by a running Lectern. End its sessions first."
    assert await delete() == (1, "", sentence)
    assert (await server.client.delete(f"/v1/sessions/{made['session_id']}")).status == 204
    assert await delete() == (0, "ada is deleted.", "")


async def test_deleting(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    await problem(await server.client.delete("/v1/avatars/ada"), 409, "in_use")
    await server.client.delete(f"/v1/sessions/{made['session_id']}")
    assert (await server.client.delete("/v1/avatars/ada")).status == 204
    await problem(await server.client.delete("/v1/avatars/ada"), 404, "not_found")
    assert not (server.root / "ada").exists()


@pytest.mark.parametrize("avatar_id", ["a/b", "../x", "x" * 300, "", "-x", "ü", "a b"])
async def test_ids_that_cannot_be(serve: Serve, avatar_id: str) -> None:
    server = await serve()
    for file_first in (False, True):
        await problem(await upload(server, avatar_id=avatar_id, file_first=file_first), 422, "invalid_id")
    answer = await server.client.post("/v1/avatars", json={"avatar_id": avatar_id, "video_path": "x.mp4"})
    await problem(answer, 422, "invalid_id")
    assert leftovers(server) == []


async def test_an_id_that_exists(serve: Serve, tmp_path: Path, face_models: None) -> None:
    server = await serve()
    (tmp_path / "import" / "x.mp4").write_bytes(b"video")
    for file_first in (False, True):
        await problem(await upload(server, avatar_id="ada", file_first=file_first), 409, "exists")
    answer = await server.client.post("/v1/avatars", json={"avatar_id": "ada", "video_path": "x.mp4"})
    await problem(answer, 409, "exists")
    assert leftovers(server) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"this is not a video", "unreadable"),
        (b"", "empty"),
        (b"#EXTM3U\nhttp://127.0.0.1/secret.ts\n", "unreadable"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isom" + b"\0" * 200, "unreadable"),
    ],
)
async def test_files_that_are_no_video(serve: Serve, face_models: None, content: bytes, code: str) -> None:
    server = await serve()
    await problem(await upload(server, content, avatar_id="new"), 422, code)
    assert leftovers(server) == []
    await problem(await server.client.get("/v1/avatars/new"), 404, "not_found")


async def test_forms_that_are_wrong(serve: Serve) -> None:
    server = await serve()
    await problem(await server.client.post("/v1/avatars/upload", json={}), 415, "unsupported_media_type")
    await problem(await upload(server), 422, "invalid_request")
    data = aiohttp.FormData()
    data.add_field("avatar_id", "new")
    data.add_field("other", "x", content_type="text/plain")
    await problem(await server.client.post("/v1/avatars/upload", data=data), 422, "invalid_request")
    await problem(await upload(server, avatar_id="new", apply_blur="perhaps"), 422, "invalid_request")
    await problem(await upload(server, avatar_id="new", consent="false"), 422, "consent_required")
    await problem(await upload(server, avatar_id="new", tutor_id="t" * 300), 422, "invalid_request")
    await problem(await upload(server, avatar_id="new", note="n" * 10_000), 413, "too_large")
    cut = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="video_file"; filename="v"\r\n\r\nabc'.encode()
    for body in (b"", b"nonsense", f"--{BOUNDARY}\r\nnonsense".encode(), cut, cut[:40]):
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        answer = await server.client.post("/v1/avatars/upload", data=body, headers=headers)
        assert 400 <= answer.status < 500, await answer.text()
        assert answer.content_type == "application/problem+json"
    answer = await server.client.post("/v1/avatars/upload", data=b"x", headers={"Content-Type": "multipart/form-data"})
    await problem(answer, 400, "bad_multipart")
    assert leftovers(server) == []


@pytest.mark.parametrize("path", ["/v1/avatars/upload", "/v1/tutors"])
async def test_a_video_in_a_field_that_is_unknown(serve: Serve, path: str) -> None:
    """Told by its name, however large it is, and so is the right one."""
    server = await serve()
    for content in (b"0" * 20_000, b"small"):
        data = aiohttp.FormData({"avatar_id": "new", "name": "New"})
        data.add_field("video", content, filename="clip.mp4")
        body = await problem(await server.client.post(path, data=data), 422, "invalid_request")
        assert "'video'" in body["detail"]
        assert "video_file" in body["detail"]
    assert leftovers(server) == []


async def test_a_video_over_the_limit(serve: Serve) -> None:
    server = await serve(avatars={"max_upload_mb": 1})
    await problem(await upload(server, b"0" * (3 << 20), avatar_id="new"), 413, "too_large")

    async def chunked() -> Any:
        """No Content-Length: the limit has to hold while it comes."""
        head = 'Content-Disposition: form-data; name="video_file"; filename="v.mp4"\r\n\r\n'
        yield f"--{BOUNDARY}\r\n{head}".encode()
        for _ in range(64):
            yield b"0" * (1 << 16)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await server.client.post("/v1/avatars/upload", data=chunked(), headers=headers)
    await problem(answer, 413, "too_large")
    assert leftovers(server) == []


async def test_the_disk_fills_up_during_an_upload(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    written = 0

    def write(file: Any, data: bytes) -> None:
        nonlocal written
        written += file.write(data)
        if written > 2 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bodies, "_write_all", write)
    answer = await upload(server, b"0" * (4 << 20), avatar_id="new")
    await problem(answer, 507, "disk_full")
    assert written > 2 << 20
    assert leftovers(server) == []
    monkeypatch.undo()
    assert (await server.client.get("/v1/avatars")).status == 200


async def test_a_disk_that_is_full_before(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    await problem(await upload(server, b"0" * 2000, avatar_id="new"), 507, "disk_full")
    assert leftovers(server) == []


async def test_a_client_that_goes_away_leaves_nothing(serve: Serve) -> None:
    server = await serve()
    assert server.client.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", server.client.port)
    writer.write(
        f"POST /v1/avatars/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="video_file"; filename="v.mp4"\r\n\r\n'.encode()
        + b"0" * 2_000_000
    )
    await writer.drain()
    await until(lambda: leftovers(server) != [])
    writer.transport.abort()
    await until(lambda: leftovers(server) == [])
    reader.feed_eof()


async def test_paths_outside_the_import_folders(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"video")
    folder = tmp_path / "import"
    (folder / "link.mp4").symlink_to(outside)
    (folder / "out").symlink_to(tmp_path)
    paths = [
        str(outside),
        "/etc/passwd",
        "../secret.mp4",
        str(folder / ".." / "secret.mp4"),
        str(folder / "link.mp4"),
        "link.mp4",
        "out/secret.mp4",
        "a\0b",
    ]
    for path in paths:
        answer = await server.client.post("/v1/avatars", json={"avatar_id": "new", "video_path": path})
        await problem(answer, 403, "forbidden_path")
    for path in ("missing.mp4", "x" * 4000, "."):
        answer = await server.client.post("/v1/avatars", json={"avatar_id": "new", "video_path": path})
        await problem(answer, 422, "no_such_file")
    assert leftovers(server) == []


async def test_an_accepted_import_keeps_its_file(serve: Serve, tmp_path: Path, face_models: None) -> None:
    server = await serve()
    clip = tmp_path / "import" / "x.mp4"
    clip.write_bytes(b"no video")
    answer = await server.client.post("/v1/avatars", json={"avatar_id": "new", "video_path": "x.mp4"})
    await problem(answer, 422, "unreadable")
    assert clip.read_bytes() == b"no video"


class Steps:
    """A builder whose progress a test decides."""

    def __init__(self, server: Running, avatar_id: str) -> None:
        (server.store.building / avatar_id).mkdir()
        self._server = server
        self._record = AvatarRecord(id=avatar_id, tutor_id="t")
        server.store.update(self._record)

    def say(self, **fields: Any) -> None:
        self._record = self._record.model_copy(update=fields)
        self._server.store.update(self._record, persist=False)
        self._server.app[BUILDER]._notify(self._record.id)


async def test_events_tell_the_progress_and_end(serve: Serve) -> None:
    server = await serve()
    steps = Steps(server, "new")
    answer = await server.client.get("/v1/avatars/new/events")
    assert answer.content_type == "text/event-stream"

    async def event() -> dict[str, Any]:
        async with asyncio.timeout(30):
            while not (line := await answer.content.readline()).startswith(b"data: "):
                assert line, "the stream ended"
        got: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        return got

    assert (await event())["state"] == "preparing"
    steps.say(stage="decoding", progress=0.5)
    assert (await event())["progress"] == 0.5
    steps.say(stage="failed", state="failed", error=Problem(code="no_face", message="No face was found."))
    last = await event()
    assert (last["state"], last["error"]["code"]) == ("failed", "no_face")
    async with asyncio.timeout(30):
        assert (await answer.content.read()).strip() == b""


async def test_events_have_heartbeats_and_end_with_the_server(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from server import avatars_api

    monkeypatch.setattr(avatars_api, "HEARTBEAT_SECONDS", 0.1)
    server = await serve()
    Steps(server, "new")
    answer = await server.client.get("/v1/avatars/new/events")
    async with asyncio.timeout(30):
        while not (await answer.content.readline()).startswith(b":"):
            pass
        await server.client.server.close()


async def test_events_of_a_ready_avatar_are_one(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.get("/v1/avatars/ada/events")
    async with asyncio.timeout(30):
        text = await answer.text()
    assert text.count("data: ") == 1
    assert json.loads(text.removeprefix("data: "))["state"] == "ready"
