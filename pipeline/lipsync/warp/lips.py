"""Where the lips are on frames whose mouth is open: the mesh alone is not exact enough to leave every tooth behind.

The lips of the clip's own closed mouth are looked for above and below the mesh's contours, as a set of short vertical
profiles; from what is found, the last traces of teeth and of the dark inside are stepped over by their colour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter

from avatars.avatar import Avatar, planes
from pipeline.lipsync.warp import points

F64 = NDArray[np.float64]

LEAST = 0.016
"""Margin kept everywhere on an open mouth, E."""

_CONTOURS = ((points.IU, -1.0), (points.IL, 1.0), (points.OU, -1.0), (points.OL, 1.0))
_INNER = np.linspace(0.008, 0.12, 15)  # the profile from an inner contour outwards, of E
_OUTER = np.linspace(-0.05, 0.05, 15)  # the profile across an outer contour
_TILTS = np.array([-0.03, -0.015, 0.0, 0.015, 0.03])
_TRUST_MESH = 0.2
"""Cost of a shift of .1 E, against the profiles' own variance."""

_STEPS = np.linspace(0.0, 0.045, 9)


def _places(low: float, high: float) -> tuple[F64, F64]:
    """Shifts of the contour's points to be tried, (s, 11), and what each costs."""
    steps = [(step, tilt) for tilt in _TILTS for step in np.linspace(low, high, 25)]
    shifts = np.array([step + tilt * np.linspace(-1, 1, points.MOUTH) for step, tilt in steps])
    return shifts, _TRUST_MESH * np.array([step**2 + tilt**2 for step, tilt in steps]) / 0.01


_INNER_PLACES, _OUTER_PLACES = _places(-0.02, 0.10), _places(-0.06, 0.06)
_FAN = np.radians([-15, 0, 15, 30, 45, 60])  # from straight outwards, downwards positive
_FINE = np.arange(-0.15, 0.255, 0.0025)  # depths at which a frame is read, of E


class LipFinder:
    """Reads lip profiles off an avatar's frames."""

    def __init__(self, avatar: Avatar, own: F64, scale: F64, axes: F64) -> None:
        self._avatar, self._own, self._scale = avatar, own, scale
        down = axes[:, :2, 1]
        self._down = down / np.maximum(np.hypot(down[:, 0], down[:, 1]), 1e-6)[:, None]

    def sample(self, frame: int, lip: int, depth: F64) -> tuple[F64, F64]:
        """Luma and V at `depth` (11, k) E outwards of a contour (0, 1: inner, 2, 3: outer; upper, lower), (11, k)."""
        avatar = self._avatar
        contour, sign = _CONTOURS[lip]
        at = self._own[frame, contour][:, None] + (sign * self._scale[frame] * depth)[..., None] * self._down[frame]
        y, _, v = planes(avatar.frames[frame], avatar.width, avatar.height)
        column = np.clip(np.round(at[..., 0]).astype(int), 0, avatar.width - 1)
        row = np.clip(np.round(at[..., 1]).astype(int), 0, avatar.height - 1)
        return y[row, column].astype(float) - 16, v[row // 2, column // 2].astype(float) - 128

    def template(self, frames: NDArray[np.int64], lip: int) -> F64:
        """The closed lip's profiles (11, 15, 2), over a few frames."""
        return np.asarray(
            np.mean([self._profiles(int(f), lip, np.zeros((1, points.MOUTH)))[0] for f in frames], axis=0)
        )

    def shift(self, frame: int, lip: int, template: F64) -> F64:
        """(11,) E: how far outwards of the mesh's contour the lip of the template lies on this frame."""
        middle = slice(1, points.MOUTH - 1)
        spread = float((template[middle] ** 2).mean()) + 1e-6
        shifts, cost = _OUTER_PLACES if lip >= 2 else _INNER_PLACES
        error = ((self._profiles(frame, lip, shifts)[:, middle] - template[middle]) ** 2).mean((1, 2, 3))
        return np.asarray(shifts[int(np.argmin(error / spread + cost))])

    def _profiles(self, frame: int, lip: int, shifts: F64) -> F64:
        """The lip's profiles with the contour moved outwards by each of `shifts` (s, 11), (s, 11, 15, 2), free of the
        light's level."""
        light, red = self.sample(frame, lip, np.broadcast_to(_FINE, (points.MOUTH, len(_FINE))))
        profile = _OUTER if lip >= 2 else _INNER
        at = np.round((shifts[..., None] + profile - _FINE[0]) / (_FINE[1] - _FINE[0])).astype(int)
        rows = np.arange(points.MOUTH)[None, :, None]
        light, red = light[rows, at], red[rows, at]
        level = np.maximum(light.mean((1, 2), keepdims=True), 1.0)
        out = np.stack([light / level, 3 * red / level], axis=-1)
        return np.asarray(out - out.mean((1, 2), keepdims=True))


def lip_margins(
    avatar: Avatar, own: F64, scale: F64, axes: F64, override: F64, lip: F64, closed: NDArray[np.int64]
) -> tuple[F64, F64]:
    """Two (n, 2, 11), E: from the mesh's inner contours outwards, how far the mouth's inside still shows; and from its
    outer contours outwards, where the lips' outer edges are.

    own: (n, COUNT, 2) control points in pixels. closed: frames whose mouth is closed; may be empty (then only colours
    are used). lip: (3,) YUV of the closed lips.
    Inside is what is darker than 55 % of it, or brighter and less than 62 % as red, without a break from the lip's
    edge on. Smoothed along the lip and in time.
    """
    finder = LipFinder(avatar, own, scale, axes)
    moved = np.zeros((avatar.count, 4, points.MOUTH))
    frames = np.flatnonzero(override > 0)
    if len(closed):
        for k in range(4):
            template = finder.template(closed, k)
            for frame in frames:
                moved[frame, k] = finder.shift(int(frame), k, template)
        moved = gaussian_filter1d(median_filter(moved, size=(5, 1, 1), mode="nearest"), 1.5, axis=0, mode="nearest")
    out = moved[:, :2].copy()
    lip_light, lip_red = lip[0] - 16, max(lip[2] - 128, 4.0)
    for frame in frames:
        for k in range(2):
            light, red = finder.sample(int(frame), k, moved[frame, k][:, None] + _STEPS)
            inside = (light < 0.55 * lip_light) | ((light > 1.12 * lip_light) & (red < 0.62 * lip_red))
            out[frame, k] += _STEPS[_last_of_run(inside)]
    out = np.maximum(out + 0.014, LEAST)
    out = maximum_filter1d(median_filter(out, size=(5, 1, 3), mode="nearest"), 3, axis=0, mode="nearest")
    out = gaussian_filter1d(out, 1.0, axis=2, mode="nearest")
    out[:, :, [0, -1]] *= 0.5
    return np.asarray(gaussian_filter1d(out, 1.5, axis=0, mode="nearest")), moved[:, 2:]


def corner_reach(avatar: Avatar, own: F64, scale: F64, axes: F64, override: F64, lip: F64) -> F64:
    """(n, 2, 2) E, in the picture's x and y: from the mesh's left and right inner corner to where the dark slit of an
    open mouth really ends; 0 where there is none. The slit is followed in a fan of directions, the longest one counts.
    """
    out = np.zeros((avatar.count, 2, 2))
    length = np.linspace(0.0, 0.14, 15)
    for frame in np.flatnonzero(override > 0):
        luma = planes(avatar.frames[frame], avatar.width, avatar.height)[0]
        for k, end in enumerate((0, -1)):
            side = axes[frame, :2, 0] * (1 if k else -1)
            fan = np.cos(_FAN)[:, None] * side + np.sin(_FAN)[:, None] * axes[frame, :2, 1]
            at = own[frame, points.IU][end] + scale[frame] * length[None, :, None] * fan[:, None]
            column = np.clip(np.round(at[..., 0]).astype(int), 0, avatar.width - 1)
            row = np.clip(np.round(at[..., 1]).astype(int), 0, avatar.height - 1)
            last = _last_of_run(luma[row, column].astype(float) - 16 < 0.5 * (lip[0] - 16))
            best = int(np.argmax(last))
            out[frame, k] = length[last[best]] * fan[best]
    out = median_filter(out, size=(5, 1, 1), mode="nearest")
    return np.asarray(gaussian_filter1d(out, 1.5, axis=0, mode="nearest"))


def _last_of_run(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(k, steps): index of the last True that is joined to the first steps by gaps of at most two; 0 if none."""
    last = np.zeros(len(inside), np.int64)
    for step in range(inside.shape[1]):
        last[inside[:, step] & (step - last <= 3)] = step
    return last
