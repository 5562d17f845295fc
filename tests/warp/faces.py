"""Avatars for these tests: a drawn face whose mesh is known exactly, in any pose, with any mouth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avatars import tracking
from avatars.avatar import Avatar
from pipeline.lipsync.warp import points

F64 = NDArray[np.float64]

_HALF = {
    33: (-0.5, 0, 0), 133: (-0.18, 0, -0.02), 21: (-0.62, -0.3, 0.2), 54: (-0.55, -0.45, 0.1), 103: (-0.42, -0.55, 0),
    67: (-0.3, -0.62, -0.05), 127: (-0.72, -0.05, 0.35), 98: (-0.15, 0.55, -0.1), 205: (-0.38, 0.5, 0),
    50: (-0.4, 0.35, 0),
    148: (-0.12, 1.24, 0), 176: (-0.24, 1.2, 0.02), 149: (-0.34, 1.14, 0.06), 150: (-0.44, 1.05, 0.12),
    136: (-0.52, 0.95, 0.18), 172: (-0.58, 0.85, 0.24), 58: (-0.64, 0.72, 0.3),
}  # fmt: skip
_OTHER = {
    33: 263, 133: 362, 21: 251, 54: 284, 103: 332, 67: 297, 127: 356, 98: 327, 205: 425, 50: 280,
    148: 377, 176: 400, 149: 378, 150: 379, 136: 365, 172: 397, 58: 288,
}  # fmt: skip
_MIDDLE = {
    168: (0, -0.02, -0.12), 6: (0, 0.08, -0.15), 197: (0, 0.18, -0.2), 195: (0, 0.26, -0.25), 5: (0, 0.33, -0.28),
    10: (0, -0.65, -0.1), 151: (0, -0.5, -0.12), 9: (0, -0.2, -0.13), 8: (0, -0.1, -0.12), 2: (0, 0.58, -0.15),
    152: (0, 1.27, 0), 18: (0, 0.98, -0.08), 200: (0, 1.08, -0.06), 175: (0, 1.18, -0.03), 1: (0, 0.4, -0.3),
}  # fmt: skip
MOUTH = (0.0, 0.82)


def mesh(gap: float = 0.01) -> F64:
    """(468, 3) canonical: a frontal face whose lips are `gap` apart."""
    out = np.zeros((468, 3))
    out[:, 1] = 0.3
    for left, place in _HALF.items():
        out[left] = place
        out[_OTHER[left]] = (-place[0], place[1], place[2])
    for index, place in _MIDDLE.items():
        out[index] = place
    u = np.linspace(-1, 1, points.MOUTH)
    arch = 1 - u * u
    for contour, half, height in (
        (points.OUTER_UPPER, 0.29, -0.075 - 0.2 * gap), (points.INNER_UPPER, 0.24, -0.5 * gap),
        (points.INNER_LOWER, 0.24, 0.5 * gap), (points.OUTER_LOWER, 0.29, 0.09 + 0.4 * gap),
    ):  # fmt: skip
        out[list(contour), 0] = half * u
        out[list(contour), 1] = MOUTH[1] + height * arch
        out[list(contour), 2] = -0.12 + 0.5 * (half * u) ** 2
    return out


def turn(roll: float = 0.0, yaw: float = 0.0) -> F64:
    """A rotation, in degrees."""
    r, y = np.radians(roll), np.radians(yaw)
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    return about_z @ about_y


def paint(landmarks: F64, width: int, height: int) -> NDArray[np.uint8]:
    """A flat I420 picture of the face: skin with some texture, lips, the dark between them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    middle = (width - 1) / 2
    skin = 150 + 18 * np.cos((x - middle) / 9) * np.sin(y / 7) + 10 * np.cos((x - middle) / 31)
    bgr = np.stack([0.72 * skin, 0.82 * skin, 1.08 * skin], axis=-1)
    for contours, colour in (
        ((points.OUTER_UPPER, points.OUTER_LOWER), (95, 90, 170)),
        ((points.INNER_UPPER, points.INNER_LOWER), (25, 20, 40)),
    ):  # fmt: skip
        upper, lower = (landmarks[list(c), :2] for c in contours)
        polygon = np.concatenate([upper, lower[::-1]])
        cv2.fillPoly(bgr, [np.round(polygon * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    picture = np.clip(bgr, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).ravel(), np.uint8)


def avatar(
    folder: Path,
    gaps: list[float],
    *,
    size: tuple[int, int] = (256, 320),
    scale: float = 110.0,
    centre: tuple[float, float] | None = None,
    roll: float = 0.0,
    yaw: float = 0.0,
    drawn: list[float] | None = None,
) -> Avatar:
    """A clip of one frame a gap. scale: pixels of E; centre: of the eyes' middle, pixels.

    drawn: gaps that the pictures show, where the mesh is not exact.
    """
    width, height = size
    place = np.array([*(centre or ((width - 1) / 2, 0.3 * height)), 0.0])

    def meshes(of: list[float]) -> F64:
        return np.stack([scale * mesh(gap) @ turn(roll, yaw).T + place for gap in of])

    landmarks = meshes(gaps).astype(np.float32)
    frames = np.stack([paint(lm, width, height) for lm in meshes(drawn or gaps)])
    frames.setflags(write=False)
    faces = tracking.faces(landmarks, width, height)
    return Avatar("drawn", folder, width, height, frames, faces, still=len(gaps) == 1)
