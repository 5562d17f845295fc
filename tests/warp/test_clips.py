"""Real clips: what an independent look at the finished pictures finds."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatars import tracking
from avatars.avatar import Avatar
from avatars.landmarks import FaceTracker
from avatars.models import ModelsMissing, find
from pipeline.lipsync.warp.calibrate import calibrated, shown_gap
from pipeline.lipsync.warp.face import Renderer
from pipeline.lipsync.warp.rig import Locator, build
from pipeline.media import CLOSED, MouthShape

SHARED = Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="../shared/media is not there"),
]


@pytest.fixture(scope="module")
def tracker() -> FaceTracker:
    try:
        return FaceTracker(find())
    except ModelsMissing as missing:
        pytest.skip(str(missing))


def clip(tracker: FaceTracker, name: str, start: int, count: int, folder: Path) -> Avatar:
    """A few frames of a clip, at most 720 pixels wide."""
    frames, follower = [], tracking.Follower(tracker, count)
    with av.open(str(SHARED / "media" / name)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if k < start:
                continue
            image = frame.to_ndarray(format="bgr24")
            if image.shape[1] > 1000 and image.shape[0] > image.shape[1]:
                image = cv2.resize(image, (720, 1280), interpolation=cv2.INTER_AREA)
            follower.feed(image)
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).ravel())
            if len(frames) == count:
                break
    landmarks = tracking.smooth(tracking.bridge(follower.track().landmarks)[0])
    height, width = image.shape[:2]
    return Avatar(name, folder, width, height, np.stack(frames), tracking.faces(landmarks, width, height))


@pytest.fixture(scope="module")
def locator(tracker: FaceTracker) -> Locator:
    return lambda image, start: tracker.landmarks(image, start)[0]


def test_a_woman_at_rest_opens_and_closes(
    tracker: FaceTracker, locator: Locator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    avatar = clip(tracker, "idle-woman-1280x720-30fps.mp4", 10, 6, tmp_path_factory.mktemp("woman"))
    rig = calibrated(avatar, build(avatar, locator), locator)
    face = Renderer(avatar, rig)

    def gap(mouth: MouthShape) -> float:
        return shown_gap(avatar, rig, 3, face.render(3, mouth, 1.0), locator)

    own = shown_gap(avatar, rig, 3, None, locator)
    openings = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    gaps = np.array([gap(MouthShape(float(o))) for o in openings])
    assert gaps[0] == pytest.approx(own, abs=0.004)
    assert (np.diff(gaps) > 0.01).all()
    assert np.polyfit(0.15 * openings, gaps, 1)[0] == pytest.approx(1.0, abs=0.25)
    assert gap(MouthShape(0.8, closure=1.0)) < own + 0.012


def test_a_talking_man_falls_silent(
    tracker: FaceTracker, locator: Locator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    avatar = clip(tracker, "talking-man-1080x1920-hevc.mp4", 8, 30, tmp_path_factory.mktemp("man"))
    rig = build(avatar, locator)
    face = Renderer(avatar, rig)
    own = np.array([shown_gap(avatar, rig, f, None, locator) for f in range(2, 30, 4)])
    closed = np.array([shown_gap(avatar, rig, f, face.render(f, CLOSED, 1.0), locator) for f in range(2, 30, 4)])
    spoken = np.array(
        [shown_gap(avatar, rig, f, face.render(f, MouthShape(0.6), 1.0), locator) for f in range(2, 30, 4)]
    )
    assert own.max() > 0.06
    assert np.median(closed) < 0.03
    assert closed.max() < 0.6 * own.max()
    assert (spoken > closed + 0.02).all()
