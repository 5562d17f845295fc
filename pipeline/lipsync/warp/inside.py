"""The inside of the mouth, painted where the lips have parted: a dark cavity, the tongue, teeth fixed to the skull."""

from __future__ import annotations

from dataclasses import dataclass

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

    upper, lower: (11, 2) contours, corner to corner. plane: (2, 2) and origin (2,), pixel = plane @ xy + origin.
    arch: (k, 3) where the row of teeth lies now: x in the mouth's plane, canonical x, and its height in the plane.
    gap: beyond rest, in E. cover: 0 .. 1, how much of what the frame shows there must be painted over even when the
    lips meet (the frame's own mouth is open). presence: 0 .. 1.
    """

    upper: F64
    lower: F64
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


def paint(opening: Opening, tones: Tones, picture: U8, luma: U8, u: U8, v: U8) -> None:
    """Paint onto the patch's planes, in place. Coordinates of `opening` are pixels of the patch."""
    height, width = luma.shape
    scale = float(np.sqrt(abs(np.linalg.det(opening.plane))))
    if scale < 1e-3:
        return
    corners = np.concatenate([opening.upper, opening.lower])
    left, right = float(corners[:, 0].min()), float(corners[:, 0].max())
    if right - left < 1e-3:
        return
    pixels = corners @ opening.plane.T + opening.origin
    pad = 2 + 0.02 * scale
    x0, y0 = (int(max(0, c)) & ~1 for c in np.floor(pixels.min(0) - pad))
    x1, y1 = (int(min(m, c + 1)) & ~1 for m, c in zip((width, height), np.ceil(pixels.max(0) + pad), strict=True))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return

    inverse = np.linalg.inv(opening.plane)
    px = np.arange(x0, x1, dtype=np.float32) - np.float32(opening.origin[0])
    py = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(opening.origin[1])
    x = np.float32(inverse[0, 0]) * px + np.float32(inverse[0, 1]) * py
    y = np.float32(inverse[1, 0]) * px + np.float32(inverse[1, 1]) * py

    table = np.linspace(left, right, _TABLE)
    top, bottom = _curve(opening.upper, table), _curve(opening.lower, table)
    at = np.clip((x - left) * np.float32((_TABLE - 1) / (right - left)) + 0.5, 0, _TABLE - 1).astype(np.int32)
    parted = bottom - top
    soft = max(0.014, 1.3 / scale)
    # How far a pixel lies under the upper and above the lower lip.
    below, above = y - top[at], bottom[at] - y
    matte = np.clip(below / soft + 0.5, 0, 1) * np.clip(above / soft + 0.5, 0, 1)
    strength = np.clip((parted - 0.008) / 0.028, 0, 1)
    strength = strength * strength * (3 - 2 * strength)
    inset = np.minimum(table - left, right - table) / 0.03
    matte *= (strength * np.clip(inset, 0, 1) * opening.presence).astype(np.float32)[at]
    if opening.cover > 0:
        # Where open lips were closed, what is left between them becomes the line of a closed mouth.
        thin = max(0.008, 1.15 / scale)
        line = np.exp(-(((above - below) * np.float32(0.5 / thin)) ** 2))
        line_strength = 0.92 * opening.cover * opening.presence * np.clip(0.35 * inset, 0, 1)
        np.maximum(matte, line * line_strength.astype(np.float32)[at], out=matte)

    wide = smoothstep(0.03, 0.15, opening.gap)
    dark = tones.dark[0] * (1.25 - 0.45 * wide)
    # A cleft of lip colour turns into a cavity as the lips part.
    parting = np.clip((parted - 0.012) / 0.04, 0, 1)
    floor = (16 + 0.64 * (tones.lip[0] - 16)) * (1 - parting) + dark * parting
    colour = floor.astype(np.float32)[at]
    show_tongue = 0.9 * smoothstep(0.04, 0.12, opening.gap)
    tongue_matte = None
    if show_tongue > 0:
        lower = float(bottom[_TABLE // 2])
        rise = 0.055 + 0.25 * max(opening.gap - 0.05, 0)
        a = x / np.float32(0.19 - 0.05 * opening.rounding)
        crest = np.float32(lower - rise) + np.float32(rise + 0.03) * a * a
        tongue_matte = np.clip((y - crest) / 0.030, 0, 1)
        tongue_matte *= np.float32(show_tongue)
        crease = 1 - 0.14 * np.exp(-((x / 0.022) ** 2))
        lit = np.clip(0.62 + (y - crest) * 3.2, 0, 1) * crease
        colour += tongue_matte * (np.float32(tones.tongue[0]) * lit - colour)
    shown = (0.55 + 0.45 * opening.teeth) * (1 - 0.75 * opening.rounding)
    arch_x = np.maximum.accumulate(opening.arch[:, 0] + np.arange(len(opening.arch)) * 1e-6)
    tooth_x = (np.interp(table, arch_x, opening.arch[:, 1]) - teeth.LEFT) * teeth.PER_UNIT - 0.5
    tooth_y = np.interp(table, arch_x, opening.arch[:, 2]) + teeth.TOP
    # Fine enough a table for x would be large: add the rest within one entry by its slope.
    fine = (x - table.astype(np.float32)[at]) * np.gradient(tooth_x, table).astype(np.float32)[at]
    maps = (
        tooth_x.astype(np.float32)[at] + fine,
        (y - tooth_y.astype(np.float32)[at]) * np.float32(teeth.PER_UNIT) - np.float32(0.5),
    )
    tooth = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    tooth_matte = tooth[..., 3] * np.float32(1 / 255)
    tooth_matte *= np.clip((parted - 0.014) / 0.02, 0, 1).astype(np.float32)[at]
    lift = np.float32(0.55 + 0.45 * shown)
    tooth_luma = 16 + (tooth[..., 0].astype(np.float32) - 16) * lift
    colour += tooth_matte * (tooth_luma - colour)
    # The lips shade what lies behind them, the upper one more.
    shade = 1 - 0.42 * np.exp(below * np.float32(-1 / 0.016)) - 0.22 * np.exp(above * np.float32(-1 / 0.014))
    # So do the cheeks, towards the corners.
    side = np.clip(parted / 0.05, 0, 1) ** 0.7
    shade *= (0.55 + 0.45 * side).astype(np.float32)[at]
    np.clip(shade, 0.25, 1, out=shade)
    shade += (1 - shade) * (1 - parting).astype(np.float32)[at]  # a closed line is lip, in no shadow
    colour = 16 + (colour - 16) * shade

    view = luma[y0:y1, x0:x1]
    old = view.astype(np.float32)
    old += matte * (colour - old)
    view[:] = old + 0.5

    size = ((x1 - x0) // 2, (y1 - y0) // 2)
    area = cv2.INTER_AREA
    small = cv2.resize(matte, size, interpolation=area)
    small_tooth = cv2.resize(tooth_matte, size, interpolation=area)
    small_colour = cv2.resize(tooth[..., 1:3], size, interpolation=area).astype(np.float32)
    small_tongue = cv2.resize(tongue_matte, size, interpolation=area) if tongue_matte is not None else None
    small_closed = cv2.resize((1 - parting).astype(np.float32)[at], size, interpolation=area)
    for k, plane in enumerate((u, v)):
        chroma = tones.dark[1 + k] + small_closed * np.float32(tones.lip[1 + k] - tones.dark[1 + k])
        if small_tongue is not None:
            chroma += small_tongue * (np.float32(tones.tongue[1 + k]) - chroma)
        chroma += small_tooth * (small_colour[..., k] - chroma)
        part = plane[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2]
        old = part.astype(np.float32)
        old += small * (chroma - old)
        part[:] = old + 0.5
