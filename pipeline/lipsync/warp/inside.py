"""The inside of the mouth, painted where the lips have parted: a dark cavity, the tongue, teeth fixed to the skull."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.warp import teeth
from pipeline.lipsync.warp.shape import smoothstep

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_TABLE = 192
"""Entries of the lip curves' tables, from corner to corner."""


@dataclass(frozen=True, slots=True)
class Tones:
    """Colours of one face, (3,) YUV each."""

    skin: F64
    lip: F64
    dark: F64
    tongue: F64


@dataclass(frozen=True, slots=True)
class Opening:
    """The gap between the lips on one frame, in the mouth's plane (E, origin: middle of the resting lip line).

    upper, lower: (11, 2) contours, corner to corner. spread: (11,) how far they lie apart beyond the lips' rest.
    plane: (2, 2) and origin (2,), pixel = plane @ xy + origin.
    arch: (k, 3) where the row of teeth lies now: x in the mouth's plane, canonical x, and its height in the plane.
    gap: beyond rest, in E. cover: 0 .. 1, how much of what the frame shows there must be painted over even when the
    lips meet (the frame's own mouth is open). presence: 0 .. 1.
    """

    upper: F64
    lower: F64
    spread: F64
    plane: F64
    origin: F64
    arch: F64
    gap: float
    rounding: float
    teeth: float
    cover: float
    presence: float


def _curve(contour: F64, at: F64) -> F32:
    """Heights of a contour over `at`, smoothed so that no mesh edge shows."""
    x = np.maximum.accumulate(contour[:, 0] + np.arange(len(contour)) * 1e-6)
    y = np.interp(at, x, contour[:, 1]).astype(np.float32)
    pad = np.pad(y, 16, mode="reflect", reflect_type="odd")
    return np.asarray(cv2.GaussianBlur(pad[None, :], (0, 0), 7.0)[0, 16:-16])


@dataclass(frozen=True, slots=True)
class _Gap:
    """The pixels around the gap, and the gap over its width.

    x, y: (h, w) place in the mouth's plane; below, above: how far under the upper and above the lower lip, E.
    table: (_TABLE,) x from corner to corner; parted: height of the gap there beyond rest; at: (h, w) entry of each
    pixel. lowest: height of the lower lip in the middle.
    """

    x: F32
    y: F32
    below: F32
    above: F32
    table: F64
    parted: F32
    at: NDArray[np.int32]
    lowest: float

    def over(self, values: NDArray[np.floating]) -> F32:
        """A table of values, spread over the pixels."""
        return np.asarray(values.astype(np.float32)[self.at])


def _box(opening: Opening, scale: float, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Pixels that the gap can touch, even; None if there are none in the patch."""
    pixels = np.concatenate([opening.upper, opening.lower]) @ opening.plane.T + opening.origin
    pad = 2 + 0.02 * scale
    low, high = np.floor(pixels.min(0) - pad), np.ceil(pixels.max(0) + pad) + 1
    x0, y0 = (int(max(0, c)) & ~1 for c in low)
    x1, y1 = int(min(width, high[0])) & ~1, int(min(height, high[1])) & ~1
    return (x0, y0, x1, y1) if x1 - x0 >= 4 and y1 - y0 >= 4 else None


def _measure(opening: Opening, box: tuple[int, int, int, int], left: float, right: float) -> _Gap:
    x0, y0, x1, y1 = box
    inverse = np.linalg.inv(opening.plane).astype(np.float32)
    px = np.arange(x0, x1, dtype=np.float32) - np.float32(opening.origin[0])
    py = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(opening.origin[1])
    x = inverse[0, 0] * px + inverse[0, 1] * py
    y = inverse[1, 0] * px + inverse[1, 1] * py
    table = np.linspace(left, right, _TABLE)
    top, bottom = _curve(opening.upper, table), _curve(opening.lower, table)
    at = np.clip((x - left) * np.float32((_TABLE - 1) / (right - left)) + 0.5, 0, _TABLE - 1).astype(np.int32)
    parted = np.maximum(_curve(np.stack([opening.upper[:, 0], opening.spread], axis=-1), table), 0)
    return _Gap(x, y, y - top[at], bottom[at] - y, table, parted, at, float(bottom[_TABLE // 2]))


def _matte(opening: Opening, gap: _Gap, scale: float) -> F32:
    """How much of the inside shows at each pixel, 0 .. 1."""
    soft = max(0.014, 1.3 / scale)
    matte = np.clip(gap.below / soft + 0.5, 0, 1) * np.clip(gap.above / soft + 0.5, 0, 1)
    strength = np.clip(gap.parted / 0.028, 0, 1)
    strength = strength * strength * (3 - 2 * strength)
    inset = np.minimum(gap.table - gap.table[0], gap.table[-1] - gap.table) / 0.03
    matte *= gap.over(strength * np.clip(inset, 0, 1) * opening.presence)
    if opening.cover > 0:
        # Where open lips were closed, what is left between them becomes the line of a closed mouth.
        thin = max(0.008, 1.15 / scale)
        line = np.exp(-(((gap.above - gap.below) * np.float32(0.5 / thin)) ** 2))
        strength = 0.92 * opening.cover * opening.presence * np.clip(0.35 * inset, 0, 1)
        np.maximum(matte, line * gap.over(strength), out=matte)
    return np.asarray(matte)


def _tongue(opening: Opening, gap: _Gap) -> tuple[F32, F32] | None:
    """Opacity and light of the tongue, which lies on the lower teeth and comes into sight as the mouth opens."""
    show = 0.9 * smoothstep(0.04, 0.12, opening.gap)
    if show <= 0:
        return None
    rise = 0.055 + 0.25 * max(opening.gap - 0.05, 0)
    across = gap.x / np.float32(0.19 - 0.05 * opening.rounding)
    depth = gap.y - (np.float32(gap.lowest - rise) + np.float32(rise + 0.03) * across * across)
    opacity = np.clip(depth / 0.030, 0, 1) * np.float32(show)
    crease = 1 - 0.14 * np.exp(-((gap.x / 0.022) ** 2))
    return np.asarray(opacity, np.float32), np.asarray(np.clip(0.62 + depth * 3.2, 0, 1) * crease, np.float32)


def _teeth(opening: Opening, gap: _Gap, picture: U8) -> tuple[F32, U8]:
    """Opacity (h, w) and Y, U, V (h, w, 4) of the upper teeth, which stay with the skull while the lips move."""
    arch = opening.arch
    arch_x = np.maximum.accumulate(arch[:, 0] + np.arange(len(arch)) * 1e-6)
    column = (np.interp(gap.table, arch_x, arch[:, 1]) - teeth.LEFT) * teeth.PER_UNIT - 0.5
    row = np.interp(gap.table, arch_x, arch[:, 2]) + teeth.TOP
    # The table is too coarse for where exactly a pixel lies: the rest goes by its slope.
    fine = (gap.x - gap.over(gap.table)) * gap.over(np.gradient(column, gap.table))
    seen = cv2.remap(
        picture,
        gap.over(column) + fine,
        (gap.y - gap.over(row)) * np.float32(teeth.PER_UNIT) - np.float32(0.5),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    opacity = seen[..., 3] * np.float32(1 / 255) * gap.over(np.clip((gap.parted - 0.006) / 0.028, 0, 1))
    return opacity, np.asarray(seen, np.uint8)


def _shade(gap: _Gap, parting: F32) -> F32:
    """The lips' shadow on what lies behind them, the upper one's more, and the cheeks' towards the corners."""
    shade = 1 - 0.42 * np.exp(gap.below * np.float32(-1 / 0.016)) - 0.22 * np.exp(gap.above * np.float32(-1 / 0.014))
    shade *= gap.over(0.55 + 0.45 * np.clip((gap.parted + 0.01) / 0.05, 0, 1) ** 0.7)
    np.clip(shade, 0.25, 1, out=shade)
    return np.asarray(shade + (1 - shade) * gap.over(1 - parting))  # the line of closed lips lies in no shadow


def paint(opening: Opening, tones: Tones, picture: U8, luma: U8, u: U8, v: U8) -> None:
    """Paint onto the patch's planes, in place. Coordinates of `opening` are pixels of the patch.

    picture: the upper teeth, as teeth.drawn gives them.
    """
    scale = float(np.sqrt(abs(np.linalg.det(opening.plane))))
    across = np.concatenate([opening.upper[:, 0], opening.lower[:, 0]])
    left, right = float(across.min()), float(across.max())
    box = _box(opening, scale, luma.shape[1], luma.shape[0]) if scale > 1e-3 else None
    if box is None or right - left < 1e-3:
        return
    gap = _measure(opening, box, left, right)
    matte = _matte(opening, gap, scale)

    # A cleft of lip colour turns into a dark cavity as the lips part.
    parting = np.clip(gap.parted / 0.04, 0, 1)
    dark = tones.dark[0] * (1.25 - 0.45 * smoothstep(0.03, 0.15, opening.gap))
    colour = gap.over((16 + 0.64 * (tones.lip[0] - 16)) * (1 - parting) + dark * parting)
    tongue = _tongue(opening, gap)
    if tongue is not None:
        colour += tongue[0] * (np.float32(tones.tongue[0]) * tongue[1] - colour)
    tooth_matte, tooth = _teeth(opening, gap, picture)
    bared = (0.55 + 0.45 * opening.teeth) * (1 - 0.75 * opening.rounding)
    lit = 16 + (tooth[..., 0].astype(np.float32) - 16) * np.float32(0.55 + 0.45 * bared)
    colour += tooth_matte * (lit - colour)
    colour = 16 + (colour - 16) * _shade(gap, parting)

    x0, y0, x1, y1 = box
    _mix(luma[y0:y1, x0:x1], matte, colour)
    size = ((x1 - x0) // 2, (y1 - y0) // 2)

    def half(plane: NDArray[Any]) -> F32:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)

    matte, tooth_matte, closed, hue = half(matte), half(tooth_matte), half(gap.over(1 - parting)), half(tooth[..., 1:3])
    tongue_matte = None if tongue is None else half(tongue[0])
    for k, plane in enumerate((u, v)):
        chroma = tones.dark[1 + k] + closed * np.float32(tones.lip[1 + k] - tones.dark[1 + k])
        if tongue_matte is not None:
            chroma += tongue_matte * (np.float32(tones.tongue[1 + k]) - chroma)
        chroma += tooth_matte * (hue[..., k] - chroma)
        _mix(plane[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2], matte, chroma)


def _mix(plane: U8, matte: F32, colour: F32) -> None:
    """Lay a colour over a part of a plane, in place."""
    old = plane.astype(np.float32)
    old += matte * (colour - old)
    plane[:] = old + 0.5
