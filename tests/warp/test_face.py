"""What a rendered mouth looks like and what it leaves alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from avatars import tracking
from avatars.avatar import Avatar, planes
from pipeline.lipsync.warp import points
from pipeline.lipsync.warp.face import Renderer
from pipeline.lipsync.warp.picture import lay
from pipeline.lipsync.warp.rig import build, inner_gap
from pipeline.media import CLOSED, MouthShape
from tests.warp import faces

SHAPES = [
    MouthShape(0.3),
    MouthShape(1.0, teeth=1.0),
    MouthShape(0.25, -0.65, 0.9),
    MouthShape(0.4, 0.6, 0.0, 0.5),
    MouthShape(closure=1.0),
]


def renderer(avatar: Avatar) -> Renderer:
    return Renderer(avatar, build(avatar))


def finished(face: Renderer, frame: int, mouth: MouthShape, presence: float = 1.0) -> NDArray[np.uint8]:
    """The whole I420 frame with the mouth on it."""
    avatar = face.avatar
    out = np.array(avatar.frames[frame])
    patch = face.render(frame, mouth, presence)
    assert patch is not None
    for value in (patch.x, patch.y, *patch.luma.shape):
        assert value % 2 == 0
    assert patch.u.shape == patch.v.shape == (patch.luma.shape[0] // 2, patch.luma.shape[1] // 2)
    lay(patch, out, avatar.width, avatar.height)
    return out


def shown_gap(face: Renderer, frame: int, mouth: MouthShape, presence: float = 1.0) -> float:
    """Gap of the inner lips that the field aims at, in E."""
    plan = face.plan(frame, mouth, presence)
    assert plan is not None
    middle = slice(4, 7)
    return float((plan.opening.lower[middle, 1] - plan.opening.upper[middle, 1]).mean())


@pytest.fixture
def resting(tmp_path: Path) -> Renderer:
    return renderer(faces.avatar(tmp_path, [0.01] * 3))


@pytest.mark.parametrize("roll", [0.0, 25.0])
@pytest.mark.parametrize("mouth", SHAPES, ids=str)
def test_nothing_outside_the_mask_changes(tmp_path: Path, mouth: MouthShape, roll: float) -> None:
    face = renderer(faces.avatar(tmp_path, [0.01, 0.12, 0.01], roll=roll))
    avatar = face.avatar
    for frame in range(3):
        plan = face.plan(frame, mouth, 1.0)
        assert plan is not None
        before, after = avatar.frames[frame], finished(face, frame, mouth)
        for k, (old, new) in enumerate(zip(planes(before, 256, 320), planes(after, 256, 320), strict=True)):
            y, x = np.mgrid[0 : old.shape[0], 0 : old.shape[1]].astype(float)
            xy = np.stack([x, y], axis=-1) if k == 0 else np.stack([2 * x + 0.5, 2 * y + 0.5], axis=-1)
            # One node of the field beyond the mask's edge is all that interpolation may reach.
            wide = type(plan.mask)(plan.mask.centre, plan.mask.half * 1.02 + 0.09 * plan.scale, plan.mask.roll)
            outside = wide.weight(xy) == 0
            assert outside.any()
            np.testing.assert_array_equal(old[outside], new[outside])
            x0, y0, x1, y1 = avatar.faces.mouth[frame] // (1 if k == 0 else 2)
            region = np.zeros(old.shape, bool)
            region[y0:y1, x0:x1] = True
            np.testing.assert_array_equal(old[~region], new[~region])
        assert (before != after).any()


@pytest.mark.parametrize("mouth", SHAPES, ids=str)
def test_without_presence_the_picture_is_the_avatars_own(tmp_path: Path, mouth: MouthShape) -> None:
    face = renderer(faces.avatar(tmp_path, [0.01, 0.12, 0.01]))
    for frame in range(3):
        np.testing.assert_array_equal(finished(face, frame, mouth, 0.0), face.avatar.frames[frame])


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.025])
def test_a_resting_mouth_is_left_untouched(tmp_path: Path, gap: float) -> None:
    face = renderer(faces.avatar(tmp_path, [gap] * 3))
    np.testing.assert_array_equal(finished(face, 1, CLOSED), face.avatar.frames[1])


def test_presence_fades_in_steadily(resting: Renderer) -> None:
    own = resting.avatar.frames[0].astype(int)
    change = [
        np.abs(finished(resting, 0, MouthShape(0.8), presence).astype(int) - own).mean()
        for presence in np.linspace(0, 1, 9)
    ]
    steps = np.diff(change)
    assert (steps > 0).all()
    assert steps.max() < 0.4 * change[-1]


def test_a_wider_opening_shows_a_wider_gap(resting: Renderer) -> None:
    gaps, dark = [], []
    for opening in np.linspace(0, 1, 9):
        gaps.append(shown_gap(resting, 0, MouthShape(float(opening))))
        luma = planes(finished(resting, 0, MouthShape(float(opening))), 256, 320)[0]
        dark.append(int((luma < 60).sum()))
    assert (np.diff(gaps) > 0).all()
    assert gaps[-1] - gaps[0] == pytest.approx(0.15, abs=0.02)
    assert dark[-1] > dark[4] > dark[1]


def test_closure_closes_whatever_the_opening(resting: Renderer) -> None:
    rest = shown_gap(resting, 0, CLOSED)
    assert shown_gap(resting, 0, MouthShape(0.8)) > rest + 0.1
    assert shown_gap(resting, 0, MouthShape(0.8, closure=1.0)) <= rest + 1e-6


def test_teeth_stay_with_the_skull_while_the_lips_move(resting: Renderer) -> None:
    def teeth(mouth: MouthShape) -> NDArray[np.float64]:
        plan = resting.plan(0, mouth, 1.0)
        assert plan is not None
        opening = plan.opening
        return opening.arch[:, [0, 2]] @ opening.plane.T + opening.origin + plan.region[:2]

    for mouth in SHAPES:
        np.testing.assert_allclose(teeth(mouth), teeth(CLOSED), atol=1e-6)
    # Uncovered, they are the brightest thing in the gap.
    luma = planes(finished(resting, 0, MouthShape(0.6, teeth=1.0)), 256, 320)[0]
    plan = resting.plan(0, MouthShape(0.6, teeth=1.0), 1.0)
    assert plan is not None
    x, y = np.round(plan.target[points.IU][5] + [0, 0.018 * plan.scale]).astype(int)
    assert luma[y, x] > 2 * luma[y + round(0.05 * plan.scale), x]


def test_rounding_and_width_move_the_corners(resting: Renderer) -> None:
    def corners(mouth: MouthShape) -> float:
        plan = resting.plan(0, mouth, 1.0)
        assert plan is not None
        outer = plan.target[points.OU]
        return float(outer[-1, 0] - outer[0, 0])

    assert corners(MouthShape(0.2, -0.6, 0.9)) < 0.85 * corners(CLOSED)
    assert corners(MouthShape(0.2, 0.6)) > 1.05 * corners(CLOSED)


@pytest.mark.parametrize("mouth", SHAPES, ids=str)
def test_a_symmetric_face_stays_symmetric(tmp_path: Path, mouth: MouthShape) -> None:
    drawn = faces.avatar(tmp_path, [0.01])
    frames = np.array(drawn.frames)
    for plane in planes(frames[0], 256, 320):  # the polygons' edges are not drawn quite evenly
        half = plane.shape[1] // 2
        plane[:, half:] = plane[:, :half][:, ::-1]
    face = renderer(replace(drawn, frames=frames))
    luma = planes(finished(face, 0, mouth), 256, 320)[0].astype(int)
    off = np.abs(luma - luma[:, ::-1])
    assert off.mean() < 0.3
    assert np.percentile(off, 99.9) < 14


def test_a_talking_clip_is_overruled(tmp_path: Path) -> None:
    gaps = [0.01] * 24 + [0.12] * 3 + [0.01] * 24
    face = renderer(faces.avatar(tmp_path, gaps))
    assert shown_gap(face, 25, CLOSED) < 0.02
    assert shown_gap(face, 25, MouthShape(0.5)) == pytest.approx(shown_gap(face, 0, MouthShape(0.5)), abs=0.01)
    # Where it talks, the dark of its open mouth is gone.
    own, closed = face.avatar.frames[25], finished(face, 25, CLOSED)
    count = [int((planes(f, 256, 320)[0] < 60).sum()) for f in (own, closed)]
    assert count[0] > 200
    assert count[1] < 0.1 * count[0]


def test_lips_are_found_where_the_mesh_misses_them(tmp_path: Path) -> None:
    rest = [0.01] * 12
    face = renderer(faces.avatar(tmp_path, rest + [0.07] * 9 + rest, drawn=rest + [0.13] * 9 + rest))
    own, closed = face.avatar.frames[16], finished(face, 16, CLOSED)
    count = [int((planes(f, 256, 320)[0] < 60).sum()) for f in (own, closed)]
    assert count[1] < 0.08 * count[0]


def test_threads_share_a_face(tmp_path: Path) -> None:
    face = renderer(faces.avatar(tmp_path, [0.01, 0.12, 0.01, 0.01]))
    work = [(k % 4, SHAPES[k % len(SHAPES)], 0.5 + 0.5 * (k % 2)) for k in range(60)]
    alone = [finished(face, *item) for item in work]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: finished(face, *item), work))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "where",
    [
        {"centre": (10.0, 90.0)},
        {"centre": (127.0, 250.0)},
        {"centre": (127.0, -60.0)},
        {"roll": 50.0},
        {"roll": 179.0},
        {"yaw": 40.0},
        {"scale": 14.0},
        {"scale": 400.0},
        {"centre": (-400.0, 90.0)},
    ],
    ids=str,
)
def test_awkward_faces_never_raise(tmp_path: Path, where: dict[str, object]) -> None:
    face = renderer(faces.avatar(tmp_path, [0.01, 0.12], **where))  # type: ignore[arg-type]
    for frame in range(2):
        for mouth in (*SHAPES, MouthShape(5.0, 9.0, -3.0, 7.0, -1.0)):
            patch = face.render(frame, mouth, 1.0)
            if patch is not None:
                assert patch.x >= 0
                assert patch.y >= 0
                assert patch.x + patch.luma.shape[1] <= 256
                assert patch.y + patch.luma.shape[0] <= 320


def test_a_profile_is_left_alone(tmp_path: Path) -> None:
    turned = renderer(faces.avatar(tmp_path, [0.01, 0.01], yaw=5.0))
    assert turned.render(0, MouthShape(0.5), 1.0) is not None
    avatar = turned.avatar
    away = avatar.faces.landmarks.copy()
    place = np.array([127.5, 96.0, 0.0])
    away[1] = (110 * faces.mesh() @ faces.turn(yaw=80).T + place).astype(np.float32)
    many = np.concatenate([away[:1], np.repeat(away[1:], 20, axis=0)])
    clip = Avatar("turns", tmp_path, 256, 320, np.repeat(avatar.frames[:1], 21, 0), tracking.faces(many, 256, 320))
    face = renderer(clip)
    assert face.render(20, MouthShape(0.5), 1.0) is None


def test_frames_without_a_face_are_left_alone(tmp_path: Path) -> None:
    avatar = faces.avatar(tmp_path, [0.01] * 4)
    avatar.faces.landmarks[2] = np.nan
    face = renderer(avatar)
    assert face.render(2, MouthShape(0.5), 1.0) is None
    assert face.render(1, MouthShape(0.5), 1.0) is not None
    avatar.faces.landmarks[:] = np.nan
    with pytest.raises(ValueError, match="no frame"):
        build(avatar)


def test_a_region_that_cuts_the_mask_shows_no_edge(tmp_path: Path) -> None:
    whole = faces.avatar(tmp_path, [0.01] * 2)
    mouth = whole.faces.mouth.copy()
    mouth[:, 3] = 230  # just under the chin
    cut = Avatar(
        "cut", tmp_path, 256, 320, whole.frames, type(whole.faces)(whole.faces.landmarks, whole.faces.box, mouth)
    )
    face = renderer(cut)
    luma = planes(finished(face, 0, MouthShape(1.0)), 256, 320)[0].astype(int)
    own = planes(cut.frames[0], 256, 320)[0].astype(int)
    edge, below = np.abs(luma[229] - own[229]).mean(), np.abs(luma[230:] - own[230:]).max()
    assert below == 0
    assert edge < 1.5
    assert cv2.absdiff(luma[200:215].astype(np.uint8), own[200:215].astype(np.uint8)).mean() > edge


def test_the_resting_mouth_of_an_open_portrait_is_closed(tmp_path: Path) -> None:
    face = renderer(faces.avatar(tmp_path, [0.1]))
    assert face.rig.idle_open
    assert float(inner_gap(face.rig.neutral[None])[0]) < 0.02
    assert shown_gap(face, 0, CLOSED) < 0.02
