"""Faces are found, followed, bridged and smoothed, and the report says what a teacher should know."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatars import quality, tracking
from avatars.errors import AvatarError
from avatars.landmarks import LEFT_EYE, RIGHT_EYE, FaceTracker
from avatars.record import QualityReport, SourceFacts
from avatars.stills import i420
from tests.avatars.conftest import drift, noise

SOURCE = SourceFacts(container="mp4", codec="h264", width=640, height=360, duration=1.0)


def judge(frames: list[np.ndarray], tracker: FaceTracker) -> QualityReport:
    height, width = frames[0].shape[:2]
    follower = tracking.Follower(tracker, len(frames))
    for frame in frames:
        follower.feed(frame)
    track = follower.track()
    landmarks, bridged = tracking.bridge(track.landmarks)
    landmarks = tracking.smooth(landmarks)
    looks = [quality.look(i420(f)[:height], m) for f, m in zip(frames[::5], landmarks[::5], strict=True)]
    return quality.report(
        landmarks,
        looks,
        SOURCE,
        width=width,
        height=height,
        bridged=bridged,
        rivals=track.rivals,
        still=False,
        max_seconds=30,
    )


def codes(report: QualityReport) -> set[str]:
    return {f.code for f in report.findings}


def test_a_face_and_its_mesh_are_found(portrait: np.ndarray, tracker: FaceTracker) -> None:
    face, *others = tracker.faces(portrait)
    assert not others
    assert face.sure
    eyes = face.mesh[[RIGHT_EYE, LEFT_EYE], :2]
    x0, y0, x1, y1 = face.detection.box
    assert ((eyes > (x0, y0)) & (eyes < (x1, y1))).all()
    assert eyes[0, 0] < eyes[1, 0]
    assert face.mesh[13, 1] > face.mesh[1, 1] > eyes[0, 1]  # lips below nose below eyes


@pytest.mark.parametrize("turn", [-30, 30])
def test_a_tilted_face_is_followed_in_its_own_axes(portrait: np.ndarray, tracker: FaceTracker, turn: int) -> None:
    face = tracker.faces(portrait)[0]
    middle = tuple(float(v) for v in face.mesh[1, :2])
    matrix = cv2.getRotationMatrix2D(middle, turn, 1.0)
    turned = cv2.warpAffine(portrait, matrix, portrait.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    mesh = tracker.faces(turned)[0].mesh
    expected = face.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    unit = np.hypot(*(face.mesh[LEFT_EYE, :2] - face.mesh[RIGHT_EYE, :2]))
    assert np.median(np.hypot(*(mesh[:, :2] - expected).T)) < 0.04 * unit


def test_small_faces_are_found_in_a_large_picture(portrait: np.ndarray, tracker: FaceTracker) -> None:
    large = np.full((1080, 1920, 3), 128, np.uint8)
    large[700:880, 1200:1520] = cv2.resize(portrait, (320, 180), interpolation=cv2.INTER_AREA)
    (face,) = tracker.faces(large)
    assert 1200 < face.mesh[1, 0] < 1520
    assert 700 < face.mesh[1, 1] < 880


def test_nobody_is_found_where_nobody_is(tracker: FaceTracker) -> None:
    assert tracker.faces(noise(1)[0]) == []


def test_lost_frames_are_bridged_and_counted() -> None:
    landmarks = np.zeros((50, 468, 3), np.float32) + np.arange(50, dtype=np.float32)[:, None, None]
    broken = landmarks.copy()
    broken[[0, 20, 21, 22, 49]] = np.nan
    filled, count = tracking.bridge(broken)
    assert count == 5
    assert np.allclose(filled[1:49], landmarks[1:49])
    assert filled[0, 0, 0] == 1
    assert filled[49, 0, 0] == 48


@pytest.mark.parametrize(
    ("lost", "code"), [(slice(10, 37), "face_lost"), (slice(0, 40), "face_lost"), (slice(1, 50), "no_face")]
)
def test_a_face_that_is_lost_for_long_is_refused(lost: slice, code: str) -> None:
    landmarks = np.zeros((50, 468, 3), np.float32)
    landmarks[lost] = np.nan
    with pytest.raises(AvatarError) as caught:
        tracking.bridge(landmarks)
    assert caught.value.code == code


def test_smoothing_calms_noise_and_keeps_cuts() -> None:
    rng = np.random.default_rng(1)
    clean = np.zeros((60, 468, 3), np.float32)
    clean[:, LEFT_EYE, 0] = 100  # E
    clean[30:, :, 0] += 300  # a cut
    noisy = clean + rng.normal(0, 1, clean.shape).astype(np.float32)
    smooth = tracking.smooth(noisy)
    assert np.diff(smooth[:30], 2, axis=0).std() < 0.25 * np.diff(noisy[:30], 2, axis=0).std()
    assert np.abs(smooth - clean).max() < 4


def test_the_mouth_region_holds_the_mask_at_any_roll(portrait: np.ndarray, tracker: FaceTracker) -> None:
    mesh = tracker.faces(portrait)[0].mesh
    middle = mesh[1, :2].astype(float)
    for roll in (-0.6, 0.0, 0.6):
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        turned = mesh.copy()
        turned[:, :2] = (mesh[:, :2] - middle) @ turn.T + middle
        faces = tracking.faces(turned[None], 640, 360)
        x0, y0, x1, y1 = faces.mouth[0]
        assert all(v % 2 == 0 for v in (x0, y0, x1, y1))
        assert 0 <= x0 < x1 <= 640
        assert 0 <= y0 < y1 <= 360
        unit = tracking.eye_distance(turned[None])[0]
        across = (turned[LEFT_EYE, :2] - turned[RIGHT_EYE, :2]) / unit
        down = np.array([-across[1], across[0]])
        mouth = (turned[61, :2] + turned[291, :2]) / 2
        for point in (mouth + 0.66 * unit * across, mouth - 0.66 * unit * across, mouth - 0.3 * unit * down):
            assert x0 <= point[0] <= x1
            assert y0 <= point[1] <= y1
        chin = turned[152, :2] + 0.42 * unit * down
        assert min(chin[1], 360) <= y1


def test_a_good_clip_is_fine(portrait: np.ndarray, tracker: FaceTracker) -> None:
    report = judge(drift(portrait), tracker)
    assert report.ok
    assert codes(report) <= {"short_clip", "mouth_open"}


def test_the_report_names_what_is_wrong(portrait: np.ndarray, tracker: FaceTracker) -> None:
    frames = drift(portrait)
    assert "blurry" in codes(judge([cv2.GaussianBlur(f, (0, 0), 5) for f in frames], tracker))
    assert "low_resolution" in codes(judge([cv2.resize(f, (320, 180)) for f in frames], tracker))
    tiny = [cv2.copyMakeBorder(cv2.resize(f, (128, 72)), 100, 188, 200, 312, cv2.BORDER_REPLICATE) for f in frames]
    report = judge(tiny, tracker)
    assert not report.ok
    assert "face_too_small" in codes(report)
    wild = [np.roll(frames[0], round(120 * np.sin(n / 3)), axis=1) for n in range(30)]
    assert "moves_too_much" in codes(judge(wild, tracker))
    assert all(f.message for f in report.findings)


def test_darkness_is_named(portrait: np.ndarray, tracker: FaceTracker) -> None:
    report = judge([(f * 0.06).astype(np.uint8) for f in drift(portrait, 10)], tracker)
    assert "too_dark" in codes(report)
    assert not report.ok
    assert "dim" in codes(judge([(f * 0.16).astype(np.uint8) for f in drift(portrait, 10)], tracker))


@pytest.mark.shared
def test_real_clips_are_accepted_and_talkers_told_from_listeners(media: Path, tracker: FaceTracker) -> None:
    talks = {"idle-woman-1280x720-30fps.mp4": False, "speaker-synced-700x700.mp4": True}
    for name, talking in talks.items():
        with av.open(str(media / name)) as clip:
            frames = [f.to_ndarray(format="bgr24") for f, _ in zip(clip.decode(video=0), range(60), strict=False)]
        report = judge(frames, tracker)
        assert report.ok, (name, report)
        assert ("already_talking" in codes(report)) == talking, report
