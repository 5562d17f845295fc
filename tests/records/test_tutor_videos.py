"""A tutor and its avatar by one call: linked, waited for, and nothing left of a video that is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest

from avatars import models
from server import tutor_making
from server.keys import BUILDER
from tests.needs import missing
from tests.records.clips import face_clip
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, problem

LONG = 200.0  # s, for a build on a busy machine

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def face_models() -> None:
    try:
        models.find()
    except models.ModelsMissing as error:
        missing(str(error))


@pytest.fixture(scope="module")
def faceless(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good video of nobody."""
    path: Path = tmp_path_factory.mktemp("video") / "grey.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 130, np.uint8), "rgb24")
        for _ in range(150):
            film.mux(stream.encode(picture))
        film.mux(stream.encode())
    return path.read_bytes()


async def post(
    server: Running, video: bytes, query: str = "", *, file_first: bool = False, **fields: str
) -> aiohttp.ClientResponse:
    form = aiohttp.FormData()
    if file_first:
        form.add_field("video_file", video, filename="clip.mp4")
    for name, value in fields.items():
        form.add_field(name, value)
    if not file_first:
        form.add_field("video_file", video, filename="clip.mp4")
    return await server.client.post(f"/v1/tutors{query}", data=form)


async def shown(server: Running, tutor_id: str) -> dict[str, Any]:
    body: dict[str, Any] = await (await server.client.get(f"/v1/tutors/{tutor_id}")).json()
    return body


async def nothing_left(server: Running) -> None:
    """No tutor, no avatar beside "ada", no upload."""
    assert (await (await server.client.get("/v1/tutors")).json())["total"] == 0
    assert (await (await server.client.get("/v1/avatars")).json())["avatars"] == ["ada"]
    folders = (server.store.uploads, server.store.building)
    assert [path.name for folder in folders for path in folder.iterdir()] == []


SMALL = {"max_height": 240, "max_seconds": 3.0, "wait_seconds": 240.0}  # quick to prepare, even where it is not


async def test_a_tutor_with_its_video(serve: Serve) -> None:
    server = await serve(avatars=SMALL)
    answer = await post(
        server,
        face_clip(),
        "?wait=1",
        file_first=True,
        name="Ms. Chén",
        persona="You are kind.",
        voice="hibari:heart",
        apply_blur="false",
        consent="true",
    )
    assert answer.status == 201, await answer.text()
    tutor = await answer.json()
    assert answer.headers["Location"] == "/v1/tutors/ms-chen"
    assert (tutor["id"], tutor["avatar_id"], tutor["avatar"]["state"]) == ("ms-chen", "ms-chen", "ready")
    avatar = await (await server.client.get("/v1/avatars/ms-chen")).json()
    assert (avatar["tutor_id"], avatar["consent"]["given"]) == ("ms-chen", True)
    made = await server.client.post("/v1/sessions", json={"tutor_id": "ms-chen", "student_id": "s1"})
    body = await made.json()
    assert (body["avatar_id"], body["voice"]) == ("ms-chen", "hibari:heart")
    assert server.sessions.get(body["session_id"]).persona.text == "You are kind."


async def test_the_answer_comes_at_once_and_the_avatar_later(serve: Serve, faceless: bytes) -> None:
    """Also: a build that fails later is told, and the tutor stays."""
    server = await serve(avatars=SMALL)
    answer = await post(server, faceless, name="Nobody", id="nobody", avatar_id="face-of-nobody")
    assert answer.status == 201, await answer.text()
    tutor = await answer.json()
    assert (tutor["avatar_id"], tutor["avatar"]["state"]) == ("face-of-nobody", "preparing")
    async with asyncio.timeout(LONG):
        await server.app[BUILDER].wait("face-of-nobody")
    avatar = (await shown(server, "nobody"))["avatar"]
    assert (avatar["state"], avatar["error"]["code"]) == ("failed", "no_face")
    session = await server.client.post("/v1/sessions", json={"tutor_id": "nobody", "student_id": "s1"})
    await problem(session, 409, "avatar_failed")


async def test_a_build_that_fails_while_it_is_waited_for_leaves_nothing(serve: Serve, faceless: bytes) -> None:
    server = await serve(avatars=SMALL)
    body = await problem(await post(server, faceless, "?wait=1", name="Nobody"), 422, "no_face")
    assert (body["avatar_id"], body["state"]) == ("nobody", "failed")
    await nothing_left(server)


async def test_a_video_that_is_refused_leaves_nothing(serve: Serve) -> None:
    server = await serve()
    await problem(await post(server, b"no video", name="Ada"), 422, "unreadable")
    await nothing_left(server)
    await problem(await post(server, b"", name="Ada"), 422, "empty")
    await nothing_left(server)


async def test_what_is_wrong_is_told_before_the_video_has_travelled(serve: Serve) -> None:
    server = await serve(avatars={"max_upload_mb": 1})
    await server.client.post("/v1/tutors", json={"id": "there", "name": "There"})
    big = b"0" * (1 << 20)
    await problem(await post(server, big, id="there", name="x"), 409, "exists")
    await problem(await post(server, big, id="../x", name="x"), 422, "invalid_id")
    await problem(await post(server, big, name="x", consent="false"), 422, "consent_required")
    await problem(await post(server, big, name="x", consent="perhaps"), 422, "invalid_request")
    await problem(await post(server, big, name="x", voice="hibari:nobody"), 422, "unknown_voice")
    await problem(await post(server, big, name="x", avatar_id="ada"), 409, "exists")
    await problem(await post(server, big, id="new"), 422, "invalid_request")
    await problem(await post(server, big, name="x", persona="p" * 40_000), 413, "too_large")
    await problem(await post(server, big * 3, name="x"), 413, "too_large")
    await server.client.delete("/v1/tutors/there")
    await nothing_left(server)


async def test_an_avatar_of_the_same_name_is_not_replaced(serve: Serve, faceless: bytes) -> None:
    server = await serve()
    answer = await post(server, faceless, id="ada", name="Ada")
    tutor = await answer.json()
    assert tutor["avatar_id"].startswith("ada-")
    assert (await (await server.client.get("/v1/avatars/ada")).json())["tutor_id"] == "t-ada"


async def test_an_avatar_that_came_meanwhile_is_not_deleted(
    serve: Serve, faceless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is refused at the last moment: what it made is undone, what others made is not."""
    server = await serve()
    monkeypatch.setattr(tutor_making, "_free_avatar", lambda app, tutor_id: "ada")
    await problem(await post(server, faceless, name="Other"), 409, "exists")
    await nothing_left(server)


async def test_two_at_once_with_one_id(serve: Serve, faceless: bytes) -> None:
    server = await serve()
    video = faceless
    answers = await asyncio.gather(*(post(server, video, id="one", name=f"One {number}") for number in range(3)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    await until(lambda: not list(server.store.uploads.iterdir()))
    assert (await shown(server, "one"))["avatar"]["avatar_id"] == "one"


async def test_a_tutor_is_deleted_while_its_avatar_is_prepared(serve: Serve, faceless: bytes) -> None:
    server = await serve()
    assert (await post(server, faceless, id="short", name="Short")).status == 201
    assert (await server.client.delete("/v1/tutors/short?avatar=1")).status == 204
    await nothing_left(server)
