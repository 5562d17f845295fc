"""Short clips made on the spot, and what the avatar tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatars import models
from avatars import store as store_module
from avatars.cli import create
from avatars.landmarks import FaceTracker
from avatars.stages import BuildSettings
from avatars.store import AvatarStore

REPO = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("LECTERN_SHARED", REPO.parent / "shared"))
WOMAN = "idle-woman-1280x720-30fps.mp4"


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real clips."""
    if not (SHARED / "media" / WOMAN).is_file():
        pytest.skip(f"the real clips are not in {SHARED / 'media'}")
    return SHARED / "media"


@pytest.fixture(scope="session")
def face_models() -> models.FaceModels:
    try:
        return models.find()
    except models.ModelsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tracker(face_models: models.FaceModels) -> FaceTracker:
    return FaceTracker(face_models)


@pytest.fixture(scope="session")
def woman(media: Path) -> list[np.ndarray]:
    """BGR frames of a woman at rest, 640x360, 1.4 s at 25 frames a second."""
    with av.open(str(media / WOMAN)) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append(frame.reformat(640, 360, "bgr24").to_ndarray())
            if len(frames) == 35:
                break
    return frames


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The sample tutor's picture, BGR, 640x360: one face, drawn."""
    return cv2.resize(
        cv2.imread(str(REPO / "static" / "sample" / "tutor.jpg")), (640, 360), interpolation=cv2.INTER_AREA
    )


@pytest.fixture
def store(tmp_path: Path) -> AvatarStore:
    return AvatarStore(tmp_path / "avatars", cache_bytes=1 << 30)


@pytest.fixture
def settings() -> BuildSettings:
    return BuildSettings(min_free_bytes=1 << 20, nice=0)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    container: str | None = None,
    times: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write BGR frames; times: when each is shown (s), else 25 a second."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.options = options or {}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for n, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")
            if times is None:
                picture.pts, picture.time_base = n, Fraction(1, 25)
            else:
                picture.pts, picture.time_base = round(times[n] * 1000), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def noise(count: int = 30, width: int = 320, height: int = 240) -> list[np.ndarray]:
    """Frames with nobody in them: soft blobs that drift."""
    rng = np.random.default_rng(7)
    base = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return [np.roll(base, n, axis=1) for n in range(count)]


def drift(picture: np.ndarray, count: int = 26) -> list[np.ndarray]:
    """The picture, moving a little to the right and back."""
    height, width = picture.shape[:2]
    frames = []
    for n in range(count):
        shift = np.float32([[1, 0, 6 * np.sin(n / 6)], [0, 1, 0]])
        frames.append(cv2.warpAffine(picture, shift, (width, height), borderMode=cv2.BORDER_REPLICATE))
    return frames


@pytest.fixture(scope="session")
def clip(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good clip, 640x360, 26 frames."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", drift(portrait))


@pytest.fixture(scope="session")
def built(clip: Path, face_models: models.FaceModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished avatar named "ada", made once."""
    store = AvatarStore(tmp_path_factory.mktemp("built"), cache_bytes=1 << 30)
    create(store, BuildSettings(min_free_bytes=1 << 20, nice=0), None, "ada", clip, lambda _: None)
    return store.folder("ada")


def put(store: AvatarStore, built: Path, avatar_id: str) -> None:
    """Put a copy of the finished avatar into a store, under another id."""
    shutil.copytree(built, store.root / avatar_id)
    record = store_module.read_record(built)
    assert record is not None
    store_module.write_record(store.root / avatar_id, record.model_copy(update={"id": avatar_id}))
