"""A still portrait -> the same portrait, gently alive: it breathes, sways and blinks, in an unseen loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import F32, FPS, U8
from avatars.errors import AvatarError
from avatars.landmarks import LEFT_EYE, RIGHT_EYE, FaceTracker
from avatars.matte import Matting
from avatars.normalise import Bounds, check_pixels, fit
from avatars.sniff import Kind, picture_size

SECONDS = 8.0
_FRAMES = int(SECONDS * FPS) + 1
# Frames are played forward and backward: all movement is a sum of cos(pi m t / SECONDS), still at both ends.
_SWAY = 0.0045  # radians about the foot of the picture
_BREATH = 0.0035  # of the picture's height, at the shoulders
_NOD = 0.0018
_BLINKS = (1.9, 6.1)  # s
# Lid openings over one blink at 25 frames a second: down in 80 ms, up in 160 ms (Stern et al. 1984: 100-400 ms in all).
_BLINK = (0.0, 0.45, 0.95, 1.0, 0.75, 0.45, 0.2, 0.06, 0.0)
_LOWER = 0.014  # E
_SMOOTH = 16.0
_LIDS = (  # upper and lower lid, from the outer to the inner corner (MediaPipe mesh)
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
)
_BROWS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))


def load(path: Path, kind: Kind, bounds: Bounds) -> U8:
    """A picture as an even-sized BGR array within the bounds, upright (EXIF), opaque. Raises AvatarError."""
    check_pixels(*picture_size(path, kind), bounds)
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise AvatarError("unreadable") from error
    if picture is None:
        raise AvatarError("unreadable")
    height, width = picture.shape[:2]
    if min(width, height) < 16:
        raise AvatarError("face_too_small")
    size = fit(width, height, bounds)
    if (width, height) != size:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def i420(bgr: U8) -> U8:
    """A BGR picture as I420, BT.709 limited range (OpenCV knows BT.601 only)."""
    height, width = bgr.shape[:2]
    b, g, r = (bgr[:, :, i].astype(np.float32) for i in range(3))
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    out = np.empty((height * 3 // 2, width), np.uint8)
    out[:height] = np.clip(16.5 + luma * (219 / 255), 0, 255)
    half = (width // 2, height // 2)
    chroma = out[height:].reshape(2, height // 2, width // 2)
    chroma[0] = np.clip(
        128.5 + cv2.resize((b - luma) / 1.8556, half, interpolation=cv2.INTER_AREA) * (224 / 255), 0, 255
    )
    chroma[1] = np.clip(
        128.5 + cv2.resize((r - luma) / 1.5748, half, interpolation=cv2.INTER_AREA) * (224 / 255), 0, 255
    )
    return out


def animate(picture: U8, tracker: FaceTracker, matting: Matting | None) -> Iterator[tuple[float, U8]]:
    """(progress, I420 frame) of the living picture. Only the person moves when there is a matte, else all of it.

    The picture is warped once a frame, by an inverse displacement of less than 1 % of its height.
    """
    height, width = picture.shape[:2]
    base = i420(picture)
    planes = (base[:height], *base[height:].reshape(2, height // 2, width // 2))
    weight = _person(base, matting, width, height)
    # Half resolution is enough for the field: it is smooth, but for the lids, whose part is added at full size.
    gy, gx = np.mgrid[0:height, 0:width].astype(np.float32)
    faces = tracker.faces(picture)
    mesh = faces[0].mesh if faces else None
    lids = LidField(mesh, width, height) if mesh is not None and can_blink(mesh, base[:height]) else None
    shoulder = np.clip(gy / height, 0, 1)
    for n in range(_FRAMES):
        t = n / FPS
        sway = _SWAY * 0.5 * (0.7 * math.cos(math.pi * t / SECONDS) + 0.45 * math.cos(3 * math.pi * t / SECONDS) - 1.15)
        breath = 0.5 * (1 - math.cos(4 * math.pi * t / SECONDS))
        nod = 0.5 * (1 - math.cos(2 * math.pi * t / SECONDS))
        dx = (weight * (sway * (height - gy))).astype(np.float32)
        dy = (weight * (height * (_BREATH * breath * (0.35 + 0.65 * shoulder) + _NOD * nod))).astype(np.float32)
        closing = _closing(n)
        map_x, map_y = gx + dx, gy + dy
        if closing and lids is not None:
            map_y = map_y + cv2.remap(lids(closing), map_x, map_y, cv2.INTER_LINEAR)
        out = np.empty_like(base)
        targets = (out[:height], *out[height:].reshape(2, height // 2, width // 2))
        half = (width // 2, height // 2)
        small_x = (cv2.resize(map_x, half, interpolation=cv2.INTER_AREA) - 0.5) / 2
        small_y = (cv2.resize(map_y, half, interpolation=cv2.INTER_AREA) - 0.5) / 2
        for plane, target, mx, my in zip(
            planes, targets, (map_x, small_x, small_x), (map_y, small_y, small_y), strict=True
        ):
            target[:] = cv2.remap(plane, mx, my, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield (n + 1) / _FRAMES, out


def _person(base: U8, matting: Matting | None, width: int, height: int) -> F32:
    """How much of the movement each pixel takes part in: 1 on the person, falling to 0 over a broad, soft rim."""
    if matting is None:
        return np.ones((height, width), np.float32)
    matte = np.where(matting(base) > 0.5, 1.0, 0.0).astype(np.float32)
    if matte.mean() < 0.02:  # a drawing, perhaps: nobody was seen
        return np.ones((height, width), np.float32)
    grown = cv2.dilate(matte, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (29, 29)))
    soft = cv2.GaussianBlur(grown, (0, 0), 9)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1), np.float32)


def _closing(frame: int) -> float:
    """How far the lids are closed in a frame, 0..1."""
    for at in _BLINKS:
        step = frame - round(at * FPS)
        if 0 <= step < len(_BLINK):
            return _BLINK[step]
    return 0.0


def can_blink(mesh: F32, luma: U8) -> bool:
    """Whether the skin between brow and lid is smooth enough to be drawn over the eye.

    The rim of glasses or a drawing's line would be drawn along with it: their steepest gradients there (95th
    percentile, luma in a hundredth of E) were 25 and 29, those of bare skin 3 to 10.
    """
    unit = float(np.hypot(*(mesh[LEFT_EYE, :2] - mesh[RIGHT_EYE, :2])))
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), max(0.01 * unit, 0.3))
    steepest = []
    for (upper, _), brow in zip(_LIDS, _BROWS, strict=True):
        lid = mesh[list(upper), :2]
        top, bottom = mesh[list(brow), 1].max() + 0.03 * unit, lid[:, 1].min() - 0.05 * unit
        band = smooth[max(0, int(top)) : max(0, int(bottom) + 1), max(0, int(lid[:, 0].min())) : int(lid[:, 0].max())]
        if band.shape[0] > 1 and band.shape[1] > 0:
            steepest.append(float(np.percentile(np.abs(np.diff(band, axis=0)), 95)) * unit / 100)
    return bool(steepest) and max(steepest) < _SMOOTH


class LidField:
    """The vertical part of an inverse warp that draws the upper lids down over the eyes."""

    def __init__(self, mesh: F32, width: int, height: int) -> None:
        self._size = (height, width)
        self._eyes = []
        unit = float(np.hypot(*(mesh[LEFT_EYE, :2] - mesh[RIGHT_EYE, :2])))
        for (upper, lower), brow in zip(_LIDS, _BROWS, strict=True):
            up, low = mesh[list(upper), :2], mesh[list(lower), :2]
            x0, x1 = int(up[:, 0].min()) - 2, int(up[:, 0].max()) + 3
            if x0 < 0 or x1 > width or x1 - x0 < 8:
                continue
            x = np.arange(x0, x1, dtype=np.float32)
            order_up, order_low = np.argsort(up[:, 0]), np.argsort(low[:, 0])
            top = np.interp(x, up[order_up, 0], up[order_up, 1])
            # The mesh's lower lid lies inside the eye: a little more, or a bright line of it stays open.
            bottom = np.maximum(np.interp(x, low[order_low, 0], low[order_low, 1]) + _LOWER * unit, top)
            ceiling = float(mesh[list(brow), 1].max()) + 0.02 * unit
            self._eyes.append((x0, x1, top, bottom, min(ceiling, float(top.min()) - 0.06 * unit)))

    def __call__(self, closing: float) -> F32:
        """(h, w) float32: what to add to the row that a pixel is taken from, the lids `closing` of the way down."""
        field = np.zeros(self._size, np.float32)
        for x0, x1, top, bottom, ceiling in self._eyes:
            lid = top + closing * (bottom - top)  # where the lid's edge is now
            y0, y1 = max(0, int(ceiling)), min(self._size[0], int(bottom.max()) + 2)
            y = np.arange(y0, y1, dtype=np.float32)[:, None]
            # Above the edge the lid's skin is stretched down from the brow; below it the eye is squeezed.
            skin = ceiling + (y - ceiling) * (top - ceiling) / np.maximum(lid - ceiling, 1e-3)
            eye = bottom - (bottom - y) * (bottom - top) / np.maximum(bottom - lid, 1e-3)
            source = np.where(y <= lid, skin, np.where(y < bottom, eye, y))
            field[y0:y1, x0:x1] = np.where(y < ceiling, 0.0, source - y)
        return field
