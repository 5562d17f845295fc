"""Every kind of bad video ends in its own code, leaves nothing behind, and the builder goes on."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatars import builder as builder_module
from avatars.builder import AvatarBuilder
from avatars.errors import MESSAGES, AvatarError
from avatars.models import FaceModels
from avatars.record import AvatarRecord, BuildRequest
from avatars.stages import BuildSettings
from avatars.store import AvatarStore
from tests.avatars.conftest import drift, noise, write_video

pytestmark = pytest.mark.usefixtures("face_models")


@pytest.fixture
async def builder(store: AvatarStore, settings: BuildSettings) -> AsyncIterator[AvatarBuilder]:
    made = AvatarBuilder(store, settings)
    await made.start()
    yield made
    await made.close()


async def refused(builder: AvatarBuilder, video: Path, **more: object) -> str:
    """The code with which an order is refused at once."""
    with pytest.raises(AvatarError) as caught:
        await asyncio.wait_for(builder.submit(BuildRequest(avatar_id="x", video=video, **more)), 30)  # type: ignore[arg-type]
    assert str(caught.value)
    assert list(builder._store.building.iterdir()) == []
    assert builder._store.list() == []
    return caught.value.code


async def failed(builder: AvatarBuilder, video: Path, **more: object) -> AvatarRecord:
    """The record of a build that was accepted and failed."""
    request = BuildRequest(avatar_id="x", video=video, **more)  # type: ignore[arg-type]
    await asyncio.wait_for(builder.submit(request), 30)
    record = await asyncio.wait_for(builder.wait("x"), 60)
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code in MESSAGES
    assert len(record.error.message) > 20
    assert not builder._store.folder("x").exists()
    kept = {p.name for p in (builder._store.building / "x").iterdir()}
    assert kept <= {"avatar.json", "order.json", "lock"}  # the video and what was made of it are gone
    return record


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


PLAYLIST = b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"these are only words " * 100, "unreadable"),
        (os.urandom(50_000), "unreadable"),
        (PLAYLIST, "unreadable"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "unreadable"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "unreadable"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable"),
        (b"GIF89a" + bytes(100), "unsupported"),
        (b"\x00\x00\x00\x20ftypisom" + os.urandom(5000), "unreadable"),
        (b"\x1a\x45\xdf\xa3" + os.urandom(5000), "unreadable"),
        (b"\xff\xd8\xff\xe0" + os.urandom(5000), "unreadable"),
    ],
    ids=["empty", "text", "random", "hls", "concat", "sdp", "svg", "gif", "mp4", "mkv", "jpeg"],
)
async def test_what_is_no_video_is_refused_at_once(
    builder: AvatarBuilder, tmp_path: Path, data: bytes, code: str
) -> None:
    assert await refused(builder, write(tmp_path / "clip.mp4", data)) == code


@pytest.mark.parametrize("kind", ["hls", "concat"])
async def test_a_list_of_good_videos_is_not_followed(builder: AvatarBuilder, tmp_path: Path, kind: str) -> None:
    real = write_video(tmp_path / "part.ts", noise(30, 64, 64), container="mpegts")
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{real}\n#EXT-X-ENDLIST\n"
    text = hls if kind == "hls" else f"ffconcat version 1.0\nfile {real}\n"
    with av.open(str(write(tmp_path / "list", text.encode())), format=kind, options={"safe": "0"}) as followed:
        assert followed.streams.video  # so FFmpeg would do, were it let
    assert await refused(builder, tmp_path / "list") == "unreadable"


async def test_sound_alone_is_refused(builder: AvatarBuilder, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert await refused(builder, tmp_path / "sound.mp4") == "unsupported"


async def test_a_picture_bomb_is_refused_by_its_header(builder: AvatarBuilder, tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert await refused(builder, write(tmp_path / "bomb.png", data)) == "too_large"


@pytest.mark.parametrize("size", [(2100, 8192), (64, 9000)])
async def test_a_video_of_huge_pictures_is_refused(
    builder: AvatarBuilder, tmp_path: Path, size: tuple[int, int]
) -> None:
    huge = np.zeros((*size, 3), np.uint8)
    path = write_video(tmp_path / "bomb.mkv", [huge] * 2, options={"preset": "ultrafast"})
    assert path.stat().st_size < 200_000
    assert await refused(builder, path) == "too_large"


async def test_a_video_of_huge_length_is_refused(builder: AvatarBuilder, tmp_path: Path) -> None:
    path = write_video(tmp_path / "bomb.mkv", noise(3, 64, 64), times=[0, 1, 90_000])
    assert await refused(builder, path) == "too_long"


async def test_a_file_over_the_limit_is_refused(store: AvatarStore, settings: BuildSettings, clip: Path) -> None:
    made = AvatarBuilder(store, replace(settings, max_bytes=1000))
    await made.start()
    try:
        assert await refused(made, clip) == "too_large"
        assert clip.exists()
    finally:
        await made.close()


async def test_a_clip_under_a_second_is_refused(builder: AvatarBuilder, tmp_path: Path) -> None:
    assert await refused(builder, write_video(tmp_path / "clip.mp4", noise(12, 64, 64))) == "too_short"


async def test_a_truncated_file_with_its_index_at_the_end(builder: AvatarBuilder, clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    assert await refused(builder, write(tmp_path / "cut.mp4", whole[: len(whole) // 2])) == "unreadable"


async def test_a_truncated_file_with_its_index_in_front(
    builder: AvatarBuilder, portrait: np.ndarray, tmp_path: Path
) -> None:
    frames = [f + (n % 7) for n, f in enumerate(drift(portrait, 60))]
    path = tmp_path / "front.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")))
        out.mux(stream.encode(None))
    whole = path.read_bytes()
    record = await failed(builder, write(tmp_path / "cut.mp4", whole[: len(whole) // 2]))
    assert record.error is not None
    assert record.error.code == "truncated"


async def test_a_clip_with_nobody_in_it_then_a_good_one(builder: AvatarBuilder, clip: Path, tmp_path: Path) -> None:
    record = await failed(builder, write_video(tmp_path / "nobody.mp4", noise(26, 640, 360)))
    assert record.error is not None
    assert record.error.code == "no_face"
    await builder.submit(BuildRequest(avatar_id="x", video=clip))  # the failed one makes way
    assert (await asyncio.wait_for(builder.wait("x"), 60)).state == "ready"


async def test_two_faces(builder: AvatarBuilder, portrait: np.ndarray, tmp_path: Path) -> None:
    both = drift(np.hstack([portrait[:, 120:520], portrait[:, 120:520]]))
    record = await failed(builder, write_video(tmp_path / "two.mp4", both))
    assert record.error is not None
    assert record.error.code == "several_faces"


async def test_a_tiny_face(builder: AvatarBuilder, portrait: np.ndarray, tmp_path: Path) -> None:
    small = cv2.resize(portrait, (128, 72), interpolation=cv2.INTER_AREA)
    tiny = cv2.copyMakeBorder(small, 100, 188, 200, 312, cv2.BORDER_REPLICATE)
    record = await failed(builder, write_video(tmp_path / "tiny.mp4", drift(tiny)))
    assert record.error is not None
    assert record.error.code == "face_too_small"
    assert record.quality is not None  # the teacher sees the whole report


@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
async def test_a_video_that_is_not_upright(
    builder: AvatarBuilder, portrait: np.ndarray, tmp_path: Path, turn: int
) -> None:
    turned = [cv2.rotate(frame, turn) for frame in drift(portrait)]
    record = await failed(builder, write_video(tmp_path / "turned.mp4", turned))
    assert record.error is not None
    assert record.error.code == "not_upright"


async def test_black_pictures_are_too_dark_not_empty(builder: AvatarBuilder, tmp_path: Path) -> None:
    record = await failed(builder, write_video(tmp_path / "black.mp4", [np.full((180, 320, 3), 4, np.uint8)] * 26))
    assert record.error is not None
    assert record.error.code == "too_dark"


async def test_a_build_that_takes_too_long_is_stopped(store: AvatarStore, settings: BuildSettings, clip: Path) -> None:
    made = AvatarBuilder(store, replace(settings, wall_seconds=0.05))
    await made.start()
    try:
        record = await failed(made, clip)
        assert record.error is not None
        assert record.error.code == "too_slow"
    finally:
        await made.close()


async def test_a_disk_without_room_refuses_at_once(store: AvatarStore, settings: BuildSettings, clip: Path) -> None:
    made = AvatarBuilder(store, replace(settings, min_free_bytes=1 << 60))
    await made.start()
    try:
        assert await refused(made, clip) == "disk_full"
    finally:
        await made.close()


@pytest.mark.parametrize("name", ["frames.mp4", "faces.npz"])
async def test_a_disk_that_fills_up_during_a_build(
    builder: AvatarBuilder, clip: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def onto_a_full_disk(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        os.symlink("/dev/full", folder / name)

    monkeypatch.setattr(builder_module, "_fresh", onto_a_full_disk)
    record = await failed(builder, clip)
    assert record.error is not None
    assert record.error.code == "disk_full"


async def test_no_models_is_said(store: AvatarStore, settings: BuildSettings, clip: Path, tmp_path: Path) -> None:
    made = AvatarBuilder(store, replace(settings, models=tmp_path / "none"))
    await made.start()
    try:
        assert await refused(made, clip) == "models_missing"
    finally:
        await made.close()


async def test_no_blur_without_its_model(
    store: AvatarStore, settings: BuildSettings, clip: Path, face_models: FaceModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatars.builder.models.find", lambda _: replace(face_models, segmentation=None))
    made = AvatarBuilder(store, settings)
    await made.start()
    try:
        assert await refused(made, clip, apply_blur=True) == "no_segmentation"
    finally:
        await made.close()
