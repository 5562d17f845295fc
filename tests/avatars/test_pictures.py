"""A still comes alive without a seam, and a blurred background leaves the person alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avatars.landmarks import FaceTracker
from avatars.matte import Matting, blur_background, blurred
from avatars.models import FaceModels
from avatars.normalise import Bounds, Source
from avatars.sniff import sniff
from avatars.stills import _closing, animate, i420, load
from tests.avatars.conftest import drift


@pytest.fixture(scope="module")
def matting(face_models: FaceModels) -> Matting:
    if face_models.segmentation is None:
        pytest.skip("no segmentation model")
    return Matting(face_models.segmentation)


@pytest.fixture(scope="module")
def alive(portrait: np.ndarray, tracker: FaceTracker, matting: Matting) -> list[np.ndarray]:
    return [frame for _, frame in animate(portrait, tracker, matting)]


def test_a_still_moves_gently_and_loops(alive: list[np.ndarray], portrait: np.ndarray) -> None:
    luma = np.stack([f[:360] for f in alive]).astype(np.int16)
    assert len(alive) == 201
    assert np.array_equal(alive[0], i420(portrait))  # it begins with the picture itself
    steps = np.abs(np.diff(luma, axis=0)).mean((1, 2))
    assert steps[1:-1].max() < 3  # no jump
    assert steps[80:120].mean() > 0.01  # but movement
    # Played forward and backward, it stands still where it turns: steps at the ends are the smallest.
    assert max(steps[0], steps[-1]) < 0.6 * np.median(steps)


def test_no_black_border_comes_in(alive: list[np.ndarray], portrait: np.ndarray) -> None:
    edge = i420(portrait)[:360].astype(int)
    for frame in alive[::20]:
        luma = frame[:360].astype(int)
        for strip in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
            assert np.abs(luma[strip] - edge[strip]).mean() < 12


def test_the_face_in_a_still_is_followed(alive: list[np.ndarray], tracker: FaceTracker) -> None:
    mesh = tracker.faces(cv2.cvtColor(alive[0], cv2.COLOR_YUV2BGR_I420))[0].mesh
    first = mesh
    for frame in alive[1::20]:
        mesh, score = tracker.landmarks(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420), mesh)
        assert score > 0.9
        assert np.hypot(*(mesh[1, :2] - first[1, :2])) < 8


def test_it_blinks_and_opens_its_eyes_again() -> None:
    closing = [_closing(n) for n in range(201)]
    assert max(closing) == 1.0
    assert closing[0] == closing[-1] == 0.0
    assert 5 < sum(c > 0.02 for c in closing) < 25


@pytest.mark.parametrize("name", ["portrait.png", "portrait.jpg"])
def test_pictures_are_read_by_their_contents(tmp_path: Path, portrait: np.ndarray, name: str) -> None:
    good, data = cv2.imencode(Path(name).suffix, portrait[:359, :639])
    assert good
    path = tmp_path / "upload"
    path.write_bytes(data.tobytes())
    assert load(path, sniff(path), Bounds()).shape == (358, 638, 3)
    assert load(path, sniff(path), Bounds(max_height=180)).shape == (178, 320, 3)


def test_colours_of_a_picture_are_bt709() -> None:
    for bgr, yuv in (((255, 255, 255), (235, 128, 128)), ((0, 0, 0), (16, 128, 128)), ((0, 0, 255), (63, 102, 240))):
        made = i420(np.full((4, 4, 3), bgr, np.uint8))
        got = (made[0, 0], made[4].reshape(-1)[0], made[5].reshape(-1)[0])
        assert np.abs(np.subtract(got, yuv, dtype=int)).max() <= 1


def texture(count: int) -> list[np.ndarray]:
    """A fine pattern, 320x240, with nobody in it."""
    rng = np.random.default_rng(3)
    return [i420(rng.integers(60, 200, (240, 320, 3), np.uint8))] * count


def test_only_the_background_is_blurred() -> None:
    matte = np.zeros((256, 256), np.float32)
    matte[:, 128:] = 1.0
    frame = texture(1)[0]
    out = blurred(frame, matte)
    assert np.array_equal(out[:240, 170:], frame[:240, 170:])
    assert out[:240, :140].std() < 0.15 * frame[:240, :140].std()
    assert abs(out[:240, :140].mean() - frame[:240, :140].mean()) < 3


def test_the_person_does_not_shine_into_the_background() -> None:
    dark = np.full((360, 320), 128, np.uint8)
    dark[:240, :160], dark[:240, 160:] = 40, 220
    matte = np.zeros((256, 256), np.float32)
    matte[:, 128:] = 1.0
    out = blurred(dark, matte)
    assert out[:240, :150].max() < 60


def test_every_frame_is_blurred_once_and_in_order(portrait: np.ndarray, matting: Matting) -> None:
    frames = [i420(f) for f in drift(portrait, 5)]
    out = list(blur_background([(n / 5, f) for n, f in enumerate(frames)], matting))
    assert [p for p, _ in out] == [0, 0.2, 0.4, 0.6, 0.8]
    face = np.s_[120:250, 270:370]
    for before, (_, after) in zip(frames, out, strict=True):
        assert np.abs(before[face].astype(int) - after[face]).mean() < 3


@pytest.mark.shared
def test_plants_beside_a_person_are_background(media: Path, face_models: FaceModels) -> None:
    assert face_models.segmentation is not None
    matting = Matting(face_models.segmentation)
    path = media / "idle-woman-1280x720-30fps.mp4"
    with Source(path, sniff(path), Bounds(max_seconds=6)) as source:
        mattes = [matting(frame) for n, (_, frame) in enumerate(source.frames()) if n % 24 == 0]
    for matte in mattes:
        assert matte.shape == (256, 455)
        assert matte[100:, 340:].mean() < 0.15  # on the right, where plants come into view
        assert matte[60:200, 240:300].mean() > 0.8  # the person


@pytest.mark.parametrize(("left", "right"), [(0.06, 0.94), (0.3, 0.6), (0.5, 0.99)])
def test_a_person_is_not_cut_however_wide(
    face_models: FaceModels, monkeypatch: pytest.MonkeyPatch, left: float, right: float
) -> None:
    assert face_models.segmentation is not None
    matting = Matting(face_models.segmentation)
    truth = np.zeros((256, 1280), np.float32)
    truth[60:, int(left * 1280) : int(right * 1280)] = 1.0
    looks: list[int] = []

    def run(frame: np.ndarray, start: int, end: int) -> np.ndarray:
        looks.append(end - start)
        return cv2.resize(truth[:, start:end], (256, 256), interpolation=cv2.INTER_AREA)

    monkeypatch.setattr(matting, "_run", run)
    for _ in range(30):
        matte = matting(np.zeros((1080, 1280), np.uint8))
        columns = np.flatnonzero(matte[128] > 0.5) / matte.shape[1]
        assert abs(columns[0] - left) < 0.01
        assert abs(columns[-1] - right) < 0.01
    assert len(looks) < 45  # a second look is the exception
    assert min(looks) == 720 or right - left > 0.55
