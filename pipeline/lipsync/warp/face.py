"""One avatar opened by the warp engine: renders mouth shapes onto its frames, in I420, within the mouth's region."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avatars.avatar import U8, Avatar
from pipeline.lipsync.warp import points
from pipeline.lipsync.warp.field import GRID, Mask, inverse_fields
from pipeline.lipsync.warp.inside import Opening, paint
from pipeline.lipsync.warp.rig import Rig, inner_gap, mouth_centre, teeth_arch
from pipeline.lipsync.warp.shape import displacement, gap_of, make_basis, smoothstep
from pipeline.media import MouthPatch, MouthShape

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_GROUPS = (np.r_[points.UPPER, points.AROUND], np.r_[points.LOWER, points.AROUND])
_CORNER = 0.03
"""How far beyond an open mouth's corners skin begins for sure, in E."""


def _remap(plane: U8, places: F32, interpolation: int) -> U8:
    """A plane's pixels from `places` (height, width, 2)."""
    # None, which the stubs lack, says that one map holds both coordinates; an empty second map reads garbage (5.0).
    return cv2.remap(plane, places, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes on one frame, in pixels of the frame."""

    region: tuple[int, int, int, int]
    mask: Mask
    source: F64  # (COUNT, 2), where the control points take their picture from
    target: F64  # (COUNT, 2), where they go
    scale: float  # pixels of one E
    opening: Opening


class _Scratch(threading.local):
    """Buffers of one thread, grown to the largest region seen."""

    def __init__(self) -> None:
        self.base = np.empty((0, 0, 2), np.float32)
        self.lower = self.base
        self.map = self.base

    def fit(self, width: int, height: int) -> None:
        h, w = self.base.shape[:2]
        if width <= w and height <= h:
            return
        w, h = max(w, width), max(h, height)
        self.base = np.empty((h, w, 2), np.float32)
        self.base[..., 0] = np.arange(w, dtype=np.float32)
        self.base[..., 1] = np.arange(h, dtype=np.float32)[:, None]


class Renderer:
    """Draws. Thread-safe: all of it is read-only but for the scratch buffers, which each thread has its own of."""

    def __init__(self, avatar: Avatar, rig: Rig) -> None:
        self.avatar, self.rig = avatar, rig
        self._basis = make_basis(rig.neutral)
        self._centre = mouth_centre(rig.neutral)
        self._rest = float(inner_gap(rig.neutral[None])[0])
        self._teeth = teeth_arch(rig.neutral)
        self._scratch = _Scratch()

    def render(self, frame: int, mouth: MouthShape, presence: float) -> MouthPatch | None:
        """The mouth on avatar frame `frame`; None where nothing changes or the face cannot be moved there."""
        fit = float(self.rig.fit[frame])
        if fit == 0:
            return None
        presence = min(max(presence, 0.0), 1.0) * fit
        plan = self.plan(frame, mouth, presence)
        return None if plan is None else self.draw(frame, plan, self.maps(plan))

    # --- where things go -------------------------------------------------------------------------------------------

    def plan(self, frame: int, mouth: MouthShape, presence: float) -> Plan | None:
        """Where everything goes; None where the face cannot be moved."""
        rig = self.rig
        own = rig.own[frame].astype(np.float64)
        scale, axes, origin = float(rig.pose.scale[frame]), rig.pose.axes[frame], rig.pose.origin[frame]
        if not (np.isfinite(own).all() and np.isfinite(scale)) or scale < 8:
            return None
        flat = scale * axes[:2]  # canonical -> pixel
        override = presence * float(rig.override[frame])
        gap = float(np.interp(gap_of(mouth), rig.correction[:, 0], rig.correction[:, 1]))
        neutral = rig.neutral @ flat.T + origin[:2]
        target = own + override * (self._keep_smile(neutral, own, flat) - own)
        moved = displacement(self._basis, mouth, gap, presence) @ flat.T
        target += moved

        down = flat[:, 1]
        down = down / max(float(np.hypot(*down)), 1e-6)
        source = own.copy()
        opened = override * smoothstep(0.003, 0.025, float(rig.gap[frame]) - self._rest)
        if opened > 0:
            margin = rig.margin[frame] * (scale * opened)
            source[points.IU] -= margin[0][:, None] * down
            source[points.IL] += margin[1][:, None] * down
            for k, (inner, outer, sign) in enumerate(((points.IU, points.OU, -1.0), (points.IL, points.OL, 1.0))):
                # The outer edge, too, is where it was found, and never nearer than a third of the lip's height.
                edge = own[outer] + sign * opened * scale * rig.outer[frame, k][:, None] * down
                thick = np.hypot(*(own[outer] - own[inner]).T)
                height = sign * ((edge - source[inner]) @ down)
                source[outer] = edge + (sign * opened * np.maximum(0.35 * thick - height, 0))[:, None] * down
            for k, (end, other) in enumerate(((0, -1), (-1, 0))):
                out = own[points.OU][end] - own[points.OU][other]
                out *= _CORNER * scale / max(float(np.hypot(*out)), 1e-6)
                slit = own[points.IU][end] + rig.reach[frame, k] * scale
                beyond = max(float((slit - own[points.OU][end]) @ out), 0.0) > 0
                edge = (slit if beyond else own[points.OU][end]) + out
                for outer, inner in ((points.OU, points.IU), (points.OL, points.IL)):
                    source[outer][end] = own[outer][end] + opened * (edge - own[outer][end])
                    source[inner][end] += opened * 0.7 * (edge - own[inner][end])

        mask = self._mask(target, flat, scale)
        region = self._region(frame, mask)
        if region is None:
            return None
        plane, middle = flat[:, :2], flat @ self._centre + origin[:2]
        inverse = np.linalg.inv(plane)
        return Plan(
            region, mask, source, target, scale,
            Opening(
                upper=(target[points.IU] - middle) @ inverse.T,
                lower=(target[points.IL] - middle) @ inverse.T,
                spread=((moved[points.IL] - moved[points.IU]) @ inverse.T)[:, 1],
                plane=plane, origin=middle - region[:2], arch=self._arch(flat, inverse), gap=gap * presence,
                rounding=min(max(mouth.rounding, 0.0), 1.0), teeth=min(max(mouth.teeth, 0.0), 1.0),
                cover=opened, presence=presence,
            ),
        )  # fmt: skip

    @staticmethod
    def _keep_smile(neutral: F64, own: F64, flat: F64) -> F64:
        """The resting lips, half as much wider or narrower as the frame's own are: who laughs, closes a wider mouth."""
        across = flat[:, 0] / max(float(np.hypot(*flat[:, 0])), 1e-6)
        width = [max(float((p[points.OU][-1] - p[points.OU][0]) @ across), 1e-3) for p in (own, neutral)]
        stretch = 0.5 * (min(max(width[0] / width[1], 0.8), 1.3) - 1)
        lips = slice(0, 4 * points.MOUTH)
        out = neutral.copy()
        middle = (neutral[points.OU][0] + neutral[points.OU][-1]) / 2
        out[lips] += stretch * ((neutral[lips] - middle) @ across)[:, None] * across
        return out

    def _arch(self, flat: F64, inverse: F64) -> F64:
        """Where the row of teeth lies in the mouth's plane: it is fixed to the skull and bends away like the lips."""
        at = self._teeth
        seen = at @ flat.T @ inverse.T
        return np.stack([seen[:, 0], at[:, 0], seen[:, 1]], axis=-1)

    def _mask(self, target: F64, flat: F64, scale: float) -> Mask:
        """A superellipse from above the mouth to below the chin, turned with the head and narrowed as it turns away."""
        down = flat[:, 1] / max(float(np.hypot(*flat[:, 1])), 1e-6)
        middle = (target[points.IU][5] + target[points.IL][5]) / 2
        chin = float((target[points.CHIN_TIP] - middle) @ down) / scale
        chin = min(max(chin, 0.25), 1.2)
        top, bottom = -0.30, chin + 0.42
        facing = float(np.hypot(*flat[:, 0])) / scale
        half = np.array([0.66 * (0.35 + 0.65 * facing), (bottom - top) / 2]) * scale
        roll = float(np.arctan2(-down[0], down[1]))
        return Mask(middle + down * scale * (top + bottom) / 2, half, roll)

    def _region(self, frame: int, mask: Mask) -> tuple[int, int, int, int] | None:
        """The mask's box within what an engine may change; even numbers; None where too little is left."""
        x0, y0, x1, y1 = mask.box()
        a0, b0, a1, b1 = (int(c) for c in self.avatar.faces.mouth[frame])
        left, top = max(a0, int(x0) & ~1), max(b0, int(y0) & ~1)
        right, bottom = min(a1, (int(x1) + 2) & ~1), min(b1, (int(y1) + 2) & ~1)
        left, top, right, bottom = left + (left & 1), top + (top & 1), right & ~1, bottom & ~1
        return (left, top, right, bottom) if right - left >= 16 and bottom - top >= 16 else None

    # --- the picture -----------------------------------------------------------------------------------------------

    def draw(self, frame: int, plan: Plan, maps: tuple[F32, F32]) -> MouthPatch:
        """The finished patch: the frame's pixels from where `maps` says, and the inside of the mouth."""
        x0, y0, x1, y1 = plan.region
        luma, *chroma = self.avatar.rows(frame, y0, y1)
        whole, half = maps
        y = luma[:, x0:x1]
        u, v = (plane[:, x0 // 2 : x1 // 2] for plane in chroma)
        patch = MouthPatch(
            x0,
            y0,
            _remap(y, whole, cv2.INTER_CUBIC),
            _remap(u, half, cv2.INTER_LINEAR),
            _remap(v, half, cv2.INTER_LINEAR),
        )
        paint(plan.opening, self.rig.tones, self.rig.picture, patch.luma, patch.u, patch.v)
        return patch

    def maps(self, plan: Plan) -> tuple[F32, F32]:
        """Where each pixel of the patch comes from, at full and at half resolution."""
        x0, y0, x1, y1 = plan.region
        width, height = x1 - x0, y1 - y0
        opening, scale = plan.opening, plan.scale
        centre = opening.origin + plan.region[:2]
        steps = np.arange(GRID) + 0.5
        gx, gy = x0 - 0.5 + steps * (width / GRID), y0 - 0.5 + steps * (height / GRID)
        nodes = np.stack(np.meshgrid(gx, gy), axis=-1).reshape(-1, 2)
        local = ((nodes - centre) / scale).astype(np.float32)
        target, shift = (plan.target - centre) / scale, (plan.source - plan.target) / scale
        ring = (plan.mask.ring() - centre) / scale
        upper, lower = inverse_fields(local, target, shift, ring, _GROUPS)
        # Beside the corners both fields are made one, so that no crease runs over the cheeks.
        plane = np.linalg.inv(opening.plane) * scale
        mx, my = local @ plane[0].astype(np.float32) / 1, local @ plane[1].astype(np.float32) / 1
        line_x, line_y, half_width = self._midline(opening)
        mid = np.interp(mx, line_x, line_y)
        beside = np.clip((np.abs(mx - line_x[[0, -1]].mean()) / half_width - 1) / 0.35, 0, 1)
        beside = (beside * beside * (3 - 2 * beside))[:, None]
        low = np.clip((my - mid) / 0.16 + 0.5, 0, 1)[:, None]
        both = upper + low * (lower - upper)
        upper, lower = upper + beside * (both - upper), lower + beside * (both - lower)
        weight = (plan.mask.weight(nodes) * self._frame_weight(plan, nodes))[:, None] * scale
        coarse = [(f * weight).astype(np.float32).reshape(GRID, GRID, 2) for f in (upper, lower)]

        self._scratch.fit(width, height)
        size = (width, height)
        out = cv2.resize(coarse[0], size, interpolation=cv2.INTER_CUBIC)
        below = cv2.resize(coarse[1], size, interpolation=cv2.INTER_CUBIC)
        self._switch(opening, out, below, line_x, line_y)
        half = cv2.resize(out, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        half *= 0.5
        half += self._scratch.base[: height // 2, : width // 2]
        out += self._scratch.base[:height, :width]
        return out, half

    @staticmethod
    def _midline(opening: Opening) -> tuple[F64, F64, float]:
        x = (opening.upper[:, 0] + opening.lower[:, 0]) / 2
        x = np.maximum.accumulate(x + np.arange(len(x)) * 1e-6)
        return x, (opening.upper[:, 1] + opening.lower[:, 1]) / 2, max(float(x[-1] - x[0]) / 2, 1e-3)

    @staticmethod
    def _switch(opening: Opening, upper: F32, lower: F32, line_x: F64, line_y: F64) -> None:
        """Below the lips' midline take the lower field, in place in `upper`."""
        height, width = upper.shape[:2]
        # One pixel row per column is enough: the midline as y(x), in pixels of the patch.
        line = np.stack([line_x, line_y], axis=-1) @ opening.plane.T + opening.origin
        order = np.maximum.accumulate(line[:, 0] + np.arange(len(line)) * 1e-6)
        columns = np.arange(width)
        slope = (line[-1, 1] - line[0, 1]) / max(line[-1, 0] - line[0, 0], 1e-6)
        y = np.interp(columns, order, line[:, 1])
        y += np.where(columns < order[0], (columns - order[0]) * slope, 0)
        y += np.where(columns > order[-1], (columns - order[-1]) * slope, 0)
        top, bottom = int(np.floor(y.min() - 1)), int(np.ceil(y.max() + 2))
        top, bottom = min(max(top, 0), height), min(max(bottom, 0), height)
        upper[bottom:] = lower[bottom:]
        rows = np.arange(top, bottom, dtype=np.float32)[:, None]
        blend = np.clip(rows - y.astype(np.float32) + 0.5, 0, 1)[..., None]
        upper[top:bottom] += blend * (lower[top:bottom] - upper[top:bottom])

    def _frame_weight(self, plan: Plan, nodes: F64) -> F64:
        """Fades to 0 at a side of the region that cuts the mask off, unless the picture itself ends there."""
        x0, y0, x1, y1 = plan.region
        m0, n0, m1, n1 = plan.mask.box()
        soft = 0.12 * plan.scale
        weight = np.ones(len(nodes))
        if x0 > 0 and m0 < x0 - 2:
            weight *= np.clip((nodes[:, 0] - x0) / soft, 0, 1)
        if y0 > 0 and n0 < y0 - 2:
            weight *= np.clip((nodes[:, 1] - y0) / soft, 0, 1)
        if x1 < self.avatar.width and m1 > x1 + 2:
            weight *= np.clip((x1 - nodes[:, 0]) / soft, 0, 1)
        if y1 < self.avatar.height and n1 > y1 + 2:
            weight *= np.clip((y1 - nodes[:, 1]) / soft, 0, 1)
        return weight
