"""The face box: SPEC's formula on MediaPipe's points, steady in time, inside the frame."""

from __future__ import annotations

import numpy as np

from pipeline.lipsync.musetalk.boxes import boxes
from pipeline.lipsync.musetalk.settings import MuseTalkSettings

from .made_faces import mesh

V15, V10 = MuseTalkSettings(), MuseTalkSettings(version="1.0")


def _box(settings: MuseTalkSettings, x: float = 160, y: float = 110, **size: int) -> list[int]:
    return boxes(mesh(x, y)[None], size.get("width", 320), size.get("height", 256), settings)[0].tolist()


def test_the_box_lies_around_the_nose_down_to_the_chin() -> None:
    assert _box(V10) == [100, 38, 220, 182]
    assert _box(V15) == [100, 38, 220, 192]  # 10 px more below the chin


def test_bbox_shift_moves_the_top_twice_as_far_and_counts_in_v10_only() -> None:
    assert _box(MuseTalkSettings(version="1.0", bbox_shift=7)) == [100, 52, 220, 182]
    assert _box(MuseTalkSettings(version="1.5", bbox_shift=7)) == _box(V15)
    assert _box(MuseTalkSettings(version="1.5", extra_margin=0)) == _box(V10)


def test_calibration_is_a_shift_in_eye_distances() -> None:
    # The made face's eyes are 72 px apart.
    assert _box(MuseTalkSettings(calibration=7 / 72)) == [100, 52, 220, 192]


def test_the_box_stays_inside_the_frame() -> None:
    assert _box(V15, x=40, y=50) == [0, 0, 100, 132]
    assert _box(V15, y=200) == [100, 128, 220, 256]


def test_a_face_too_small_or_outside_has_no_box() -> None:
    landmarks = np.stack([mesh(160, 110), mesh(160, 110, size=12), mesh(-80, 110)])
    apart = np.concatenate([boxes(one[None], 320, 256, V15) for one in landmarks])
    assert apart.any(axis=1).tolist() == [True, False, False]


def test_a_face_at_rest_has_a_box_at_rest() -> None:
    """Half a pixel of noise around a rounding edge must not move the box."""
    noise = np.random.default_rng(3).normal(0, 0.35, (50, 1, 2))
    landmarks = np.repeat(mesh(160.4, 110.4)[None], 50, axis=0)
    landmarks[:, :, :2] += noise
    steps = np.abs(np.diff(boxes(landmarks, 320, 256, V15), axis=0))
    rough = np.abs(np.diff(np.rint(landmarks[:, 152, 1])))
    assert steps[:, 3].sum() < 0.5 * rough.sum()


def test_smoothing_does_not_reach_across_a_cut() -> None:
    landmarks = np.concatenate([np.repeat(mesh(100, 110)[None], 8, 0), np.repeat(mesh(200, 110)[None], 8, 0)])
    got = boxes(landmarks, 320, 256, V15)
    assert got[:8].tolist() == [[40, 38, 160, 192]] * 8
    assert got[8:].tolist() == [[140, 38, 260, 192]] * 8
