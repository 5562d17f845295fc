"""A row of upper teeth as a small picture in the skull's own coordinates, for the lips to uncover."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from avatars.avatar import Avatar, planes

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

PER_UNIT = 320
"""Pixels of the picture a unit of E."""

LEFT, RIGHT, TOP, BOTTOM = -0.26, 0.26, -0.12, 0.10
"""What the picture covers, in E, around the middle of the resting lip line (x to the right, y down)."""

WIDTH, HEIGHT = round((RIGHT - LEFT) * PER_UNIT), round((BOTTOM - TOP) * PER_UNIT)

_EDGES = np.array([0.0, 0.080, 0.142, 0.194, 0.228, 0.250])
"""Edges of the teeth from the middle outwards, in E as seen from the front: incisors, canine, premolars (a central
incisor is 8.5 mm wide, E about 95 mm; the arch turns the outer ones away)."""

_DROPS = np.array([0.039, 0.034, 0.036, 0.028, 0.021])
"""How far each reaches below the resting lip line (an adult's incisors show 2–4 mm when the lips just part)."""


def grid() -> tuple[F64, F64]:
    """Canonical x and y of the picture's pixels, (HEIGHT, WIDTH) each."""
    x = LEFT + (np.arange(WIDTH) + 0.5) / PER_UNIT
    y = TOP + (np.arange(HEIGHT) + 0.5) / PER_UNIT
    return np.asarray(np.broadcast_to(x, (HEIGHT, WIDTH))), np.asarray(np.broadcast_to(y[:, None], (HEIGHT, WIDTH)))


def drawn(skin: F64, line: tuple[float, float], size: float) -> U8:
    """Teeth drawn for a face: (HEIGHT, WIDTH, 4) of Y, U, V and opacity.

    skin: (3,) YUV of the cheeks. line: a and b of the resting lip line y = a + b x². size: 1 for an adult's mouth.
    Shapes and brightness: WARP.md; the lower edges are rounded towards the gaps between the teeth.
    """
    x, y = grid()
    across = np.abs(x) / size
    tooth = np.clip(np.searchsorted(_EDGES, across, side="right") - 1, 0, len(_DROPS) - 1)
    low, high = _EDGES[tooth], _EDGES[tooth + 1]
    inside = np.clip((across - low) / (high - low), 0, 1) * 2 - 1  # -1 .. 1 over one tooth
    edge = line[0] + 0.5 * line[1] * x * x + size * (_DROPS[tooth] - 0.009 * np.abs(inside) ** 4)
    soft = 0.007
    opacity = np.clip((edge - y) / soft + 0.5, 0, 1) * np.clip((0.245 - across) / 0.03, 0, 1)

    light = np.clip(0.72 * skin[0] + 70, 120, 222)
    side = 1 - 0.55 * np.clip(across / 0.24, 0, 1) ** 1.8
    gap = 1 - 0.17 * np.exp(-(((1 - np.abs(inside)) / 0.08) ** 2)) * np.clip((y - edge + 0.06) / 0.03, 0, 1)
    rounded = 1 - 0.07 * inside * inside
    rim = 1 - 0.12 * np.clip(1 - (edge - y) / 0.012, 0, 1)
    luma = 16 + (light - 16) * side * gap * rounded * rim
    picture = np.empty((HEIGHT, WIDTH, 4))
    picture[..., 0] = luma
    picture[..., 1:3] = 128 + 0.36 * (skin[1:] - 128)
    picture[..., 3] = 255 * opacity
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class View:
    """One frame's look into an open mouth. flat: (2, 3) canonical directions in pixels; centre: (2,) pixels of the
    mouth's middle; upper, lower: (11, 2) inner contours in pixels; bend: depth of the row of teeth, z = .02 + bend x².
    """

    frame: int
    flat: F64
    centre: F64
    upper: F64
    lower: F64
    bend: float


def _seen(avatar: Avatar, view: View) -> F64:
    """(HEIGHT, WIDTH, 4): Y, U, V of the frame laid into the skull's coordinates, and 1 inside the lips."""
    x, y = grid()
    z = 0.02 + view.bend * x * x
    at = view.centre[:, None, None] + np.einsum("ik,khw->ihw", view.flat, np.stack([x, y, z]))
    mx, my = at[0].astype(np.float32), at[1].astype(np.float32)
    out = np.empty((HEIGHT, WIDTH, 4))
    for k, plane in enumerate(planes(avatar.frames[view.frame], avatar.width, avatar.height)):
        a, b = (mx, my) if k == 0 else ((mx - 0.5) / 2, (my - 0.5) / 2)
        out[..., k] = cv2.remap(plane, a, b, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    polygon = np.concatenate([view.upper, view.lower[::-1]])
    inside = np.zeros((avatar.height, avatar.width), np.uint8)
    cv2.fillPoly(inside, [np.round(polygon * 16).astype(np.int32)], 255, shift=4)
    out[..., 3] = cv2.remap(inside, mx, my, cv2.INTER_LINEAR) / 255
    return out


def captured(avatar: Avatar, view: View, skin: F64, lip: F64) -> tuple[U8, float]:
    """The upper teeth that a frame shows, laid out like `drawn`, and how good they are: 0 (none) .. about 1.

    A tooth is bright and less red than lips. A row of them must be there without a break in the middle and be
    of one height; above what the lips leave free each column goes on as it is.
    """
    seen = _seen(avatar, view)
    light, red, inside = seen[..., 0] - 16, seen[..., 2] - 128, seen[..., 3] > 0.5
    tooth = inside & (light > 0.72 * (skin[0] - 16)) & (red < 0.78 * max(lip[2] - 128, 4.0))
    x = grid()[0][0]
    rows = np.arange(HEIGHT)[:, None]
    # In each column the first run from above.
    top = np.where(tooth.any(0), np.argmax(tooth, axis=0), HEIGHT)
    ended = ~tooth & (rows > top)
    bottom = np.where(ended.any(0), np.argmax(ended, axis=0), HEIGHT)
    tall = np.where(top < HEIGHT, bottom - top, 0) / PER_UNIT
    middle = np.abs(x) < 0.13
    coverage = float((tall[middle] > 0.02).mean())
    height = float(np.median(tall[middle]))
    if coverage < 0.9 or height < 0.028:
        return drawn(skin, (0.0, 0.0), 1.0), 0.0
    row = tall > 0.012
    left = int(np.argmax(~row[: WIDTH // 2][::-1])) or WIDTH // 2
    right = int(np.argmax(~row[WIDTH // 2 :])) or WIDTH // 2
    first, last = WIDTH // 2 - left, WIDTH // 2 + right
    columns = np.arange(WIDTH)
    within = np.clip(columns, first, last - 1)
    edge = gaussian_filter1d(median_filter(bottom[within].astype(float), 7), 2.0)
    start = gaussian_filter1d(median_filter(top[within].astype(float), 7), 3.0) + 0.006 * PER_UNIT
    source = np.clip(rows, start, np.maximum(edge - 2, start))
    picture = np.empty((HEIGHT, WIDTH, 4))
    mx = np.broadcast_to(within.astype(np.float32), (HEIGHT, WIDTH)).copy()
    for k in range(3):
        picture[..., k] = cv2.remap(seen[..., k].astype(np.float32), mx, source.astype(np.float32), cv2.INTER_LINEAR)
    soft = 0.006 * PER_UNIT
    sides = np.clip((np.minimum(columns - first, last - 1 - columns)) / (0.02 * PER_UNIT), 0, 1)
    picture[..., 3] = 255 * np.clip((edge - rows) / soft + 0.5, 0, 1) * sides
    bright = float(np.median(seen[..., 0][tooth])) - 16
    uneven = float(np.std(edge[middle])) / PER_UNIT
    reach = min(left, right) / PER_UNIT / 0.17  # a few teeth in the middle are no row
    score = (
        coverage
        * min(reach, 1.0) ** 2
        * min(height / 0.045, 1.2)
        * min(bright / max(skin[0] - 16, 1), 1.15)
        * np.exp(-uneven / 0.02)
    )
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), float(score)
