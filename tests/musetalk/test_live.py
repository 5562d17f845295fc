"""A whole live session with ENABLE_MUSETALK=true and the golden installation, from the upload to decoded frames."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

from avatars import models
from avatars.avatar import Avatar, planes
from pipeline import playout
from pipeline.lipsync.musetalk import prepared, renderer
from pipeline.lipsync.musetalk.engine import MuseTalkEngine
from server import parts
from server import settings as server_settings
from server.app import build_app
from server.keys import ENGINE, STORE
from tests.rtc.clients import AiortcViewer
from tests.server.conftest import problem
from tests.server.test_whole import CLIP, short_clip
from tests.server.test_ws import heard

from .made_faces import GOLDEN

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]

LIMIT = 60.0
"""Seconds for any one wait: this process and the worker may have to share a busy machine."""

AHEAD_SECONDS = 1.8
"""A CPU takes 0.2-0.8 s for a mouth of the tiny network, and the live 0.4 s ahead would leave none in time when it is
busy: here mouths are ordered earlier, which is all that differs from a server in use."""

TEXT = "Good morning. Today we look at how a river finds its way from the hills down to the sea."


class Watcher(AiortcViewer):
    """Keeps what it saw: the time and luma of each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[tuple[float, np.ndarray]] = []

    async def _drain(self, track: MediaStreamTrack) -> None:
        if track.kind != "video":
            await super()._drain(track)
            return
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, VideoFrame)
            assert frame.time is not None
            luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            self.pictures.append((frame.time, luma[: frame.height, : frame.width].copy()))
            self.frames += 1


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    try:
        models.find()
    except models.ModelsMissing as error:
        pytest.skip(str(error))
    if not CLIP.is_file():
        pytest.skip(f"the real clips are not in {CLIP.parent}")
    for name in (*server_settings.OPERATOR_NAMES, *server_settings.UNUSED_NAMES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENABLE_MUSETALK", "true")
    monkeypatch.setenv("MUSETALK_BASE", str(GOLDEN))
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    config = tmp_path / "config.yaml"
    busy = "sessions: {max_cpu_percent: 100, max_loop_percent: 100, max_late_ms: 0}\n"
    config.write_text(f"video: {{bitrate: 4000000}}\n{busy}")
    monkeypatch.setattr(playout, "AHEAD", round(AHEAD_SECONDS * 25))
    chosen = parts.musetalk_worker
    monkeypatch.setattr(
        parts, "musetalk_worker", lambda *given: dataclasses.replace(chosen(*given), run_ahead=AHEAD_SECONDS)
    )
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    client = TestClient(TestServer(build_app(server_settings.load(config))))
    await client.start_server()
    yield client
    await client.close()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@pytest.mark.timeout(420)
async def test_a_live_session_shows_musetalk_s_mouth_and_nothing_else(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = server.app[ENGINE]
    assert isinstance(engine, MuseTalkEngine)
    form = aiohttp.FormData()
    form.add_field("video_file", short_clip(1.1), filename="clip.mp4")
    form.add_field("avatar_id", "woman")
    answer = await server.post("/v1/avatars/upload?wait=1", data=form)
    assert answer.status == 201, await answer.text()
    assert await asyncio.to_thread(engine.renderer.wait, LIMIT)
    answer = await server.post("/v1/sessions", json={"avatar_id": "woman", "student_id": "s"})
    session = await answer.json()
    assert answer.status == 201, session
    assert engine.capacity() == 1  # a CPU draws fewer than 25 mouths a second
    health = await (await server.get("/health")).json()
    assert (health["engine"], health["renderer"]["status"]) == ("musetalk", "ready")
    refused = await server.post("/v1/sessions", json={"avatar_id": "woman", "student_id": "t"})
    await problem(refused, 503, "at_capacity")
    assert int(refused.headers["Retry-After"]) > 0

    viewer = Watcher()
    try:
        socket = await server.ws_connect(session["engine_url"])
        headers = {"Authorization": f"Bearer {session['engine_token']}", "Content-Type": "application/sdp"}
        answer = await server.post(session["whep_url"], data=await viewer.offer(), headers=headers)
        assert answer.status == 201
        await viewer.accept(await answer.text())
        await viewer.until(lambda: viewer.frames >= 10, LIMIT)
        idle = len(viewer.pictures)
        said = await server.post(f"/v1/sessions/{session['session_id']}/say", json={"text": TEXT})
        assert said.status == 202
        assert (await heard(socket, "speech_ended", LIMIT))["reason"] == "finished"
        stats = (await (await server.get(f"/v1/sessions/{session['session_id']}/stats")).json())["live"]
        seen, drawn = len(viewer.pictures), engine.renderer.figures.drawn

        # The worker dies in mid-speech: told, and warp goes on to the end. (It is started again in test_engine.)
        monkeypatch.setattr(renderer, "BACK_OFF", (60.0,))
        again = await server.post(f"/v1/sessions/{session['session_id']}/say", json={"text": TEXT})
        assert again.status == 202
        await heard(socket, "speech_started", LIMIT)
        await viewer.until(lambda: bool(engine.renderer._orders), LIMIT)
        assert engine.renderer.pid is not None
        os.kill(engine.renderer.pid, signal.SIGKILL)
        failure = await heard(socket, "error", LIMIT)
        assert failure["code"] == "engine_fallback"
        assert "warp" in failure["message"]
        assert (await heard(socket, "speech_ended", LIMIT))["reason"] == "finished"
        after = (await (await server.get(f"/v1/sessions/{session['session_id']}/stats")).json())["live"]
        assert after["mouths_failed"] == 1
        assert after["mouths"] > stats["mouths"] + 40
        await socket.close()
    finally:
        await viewer.close()
    assert stats["mouths_failed"] == 0
    assert drawn > 0
    del viewer.pictures[seen:]
    with server.app[STORE].lease("woman") as avatar:
        data = prepared.load(avatar.path / "musetalk")
        inside, outside = _differences(avatar, data, [picture for _, picture in viewer.pictures])
    gaps = np.diff([when for when, _ in viewer.pictures]) > 1.5 / 25
    # On a busy machine the session leaves pictures out, and counts where; hardly any is missing besides.
    assert gaps.sum() <= 0.08 * len(gaps) + stats["pictures_skipped"] + stats["stalls"]
    assert max(outside) < 6, "something besides the mouth was changed"
    assert max(inside[:idle]) < 6
    assert max(inside) > 25, "no mouth was replaced"


def _differences(
    avatar: Avatar, data: prepared.Prepared, pictures: list[np.ndarray]
) -> tuple[list[float], list[float]]:
    """Of each picture, to the avatar's frame that it shows: mean difference within the mask, largest (of means over
    16x16 pixels) where no mask is near."""
    frames = [planes(avatar.frames[n], avatar.width, avatar.height)[0] for n in range(avatar.count)]
    top = data.boxes[:, 1].max()  # rows above the face: only the base frame tells them
    inside, outside = [], []
    for picture in pictures:
        assert picture.shape == (avatar.height, avatar.width)
        n = int(np.argmin([np.abs(picture[:top].astype(int) - frame[:top]).mean() for frame in frames]))
        difference = np.abs(picture.astype(np.float32) - frames[n])
        x, y, w, h = data.patch(n)
        inside.append(float(difference[y : y + h, x : x + w][data.patch_mask(n) > 128].mean()))
        near = np.s_[max(0, y - 16) : y + h + 16, max(0, x - 16) : x + w + 16]  # macroblocks that the mask touches
        difference[near] = 0
        rows, columns = avatar.height // 16 * 16, avatar.width // 16 * 16
        blocks = difference[:rows, :columns].reshape(rows // 16, 16, columns // 16, 16).mean((1, 3))
        outside.append(float(blocks.max()))
    return inside, outside
