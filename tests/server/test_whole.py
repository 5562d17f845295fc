"""The whole way with nothing pretended: a clip is uploaded, becomes an avatar, and speaks to a WebRTC client."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
from aiohttp.test_utils import TestClient, TestServer

from avatars import models
from server.app import build_app
from server.keys import STORE
from server.settings import Settings
from tests.rtc.clients import AiortcViewer, until
from tests.server.conftest import Client
from tests.server.test_ws import heard

SHARED = Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
CLIP = SHARED / "media" / "idle-woman-1280x720-30fps.mp4"


def short_clip(seconds: float = 1.6) -> bytes:
    """The clip's beginning, 640x360: enough of a face, and built in a few seconds."""
    out = io.BytesIO()
    with av.open(str(CLIP)) as source, av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for count, frame in enumerate(source.decode(video=0)):
            if count >= seconds * 30:
                break
            small = frame.reformat(640, 360, "yuv420p")
            small.pts, small.time_base = count, Fraction(1, 30)
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture
async def real(settings_for: Callable[..., Settings]) -> AsyncIterator[Client]:
    try:
        models.find()
    except models.ModelsMissing as error:
        pytest.skip(str(error))
    if not CLIP.is_file():
        pytest.skip(f"the real clips are not in {SHARED / 'media'}")
    client = TestClient(TestServer(build_app(settings_for(sessions={"leave_seconds": 0.2}))))
    await client.start_server()
    yield client
    await client.close()


@pytest.mark.shared
async def test_a_clip_becomes_a_tutor_that_is_seen_and_heard(real: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("video_file", short_clip(), filename="clip.mp4")
    form.add_field("tutor_id", "42")
    form.add_field("avatar_id", "woman")
    answer = await real.post("/v1/avatars/upload?wait=1", data=form)
    made: dict[str, Any] = await answer.json()
    assert answer.status == 201, made
    assert (made["status"], made["state"], made["progress"]) == ("success", "ready", 1.0)
    assert Path(made["avatar_path"]).is_dir()
    assert made["tutor_id"] == "42"
    again = aiohttp.FormData()
    again.add_field("avatar_id", "woman")
    again.add_field("video_file", b"x", filename="clip.mp4")
    assert (await real.post("/v1/avatars/upload", data=again)).status == 409

    session = await (await real.post("/v1/sessions", json={"tutor_id": 42, "student_id": "s"})).json()
    viewer = AiortcViewer()
    try:
        socket = await real.ws_connect(session["engine_url"])
        headers = {"Authorization": f"Bearer {session['engine_token']}", "Content-Type": "application/sdp"}
        answer = await real.post(session["whep_url"], data=await viewer.offer(), headers=headers)
        assert answer.status == 201
        await viewer.accept(await answer.text())
        await viewer.until(lambda: viewer.frames >= 5 and viewer.samples > 4800)
        silent = viewer.loudness
        said = await real.post(f"/v1/sessions/{session['session_id']}/say", json={"text": "Hello there, student."})
        assert said.status == 202
        caption = await heard(socket, "caption")
        assert caption["utterance_id"] == (await said.json())["utterance_id"]
        ended = await heard(socket, "speech_ended")
        assert ended["reason"] == "finished"
        assert "student" in ended["heard"]
        await viewer.until(lambda: viewer.loudness > max(0.005, 3 * silent))
        stats = await (await real.get(f"/v1/sessions/{session['session_id']}/stats")).json()
        assert stats["live"]["mouths"] > 10
        assert stats["live"]["mouths_failed"] == 0
        assert stats["connections"][0]["state"] == "connected"

        assert (await real.delete("/v1/avatars/woman")).status == 409
        await socket.close()
        answer = await real.delete(answer.headers["Location"], headers=headers)
        assert answer.status == 200
        assert real.app is not None
        store = real.app[STORE]
        await until(lambda: store.leases("woman") == 0)  # all have left: everything heavy is given back
        assert (await real.delete("/v1/avatars/woman")).status == 204
    finally:
        await viewer.close()
    async with asyncio.timeout(30):
        assert (await real.get("/health")).status == 200
