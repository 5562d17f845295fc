"""From a mouth shape to the displacement of the control points, in canonical units of one face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.warp import points
from pipeline.media import MouthShape

F64 = NDArray[np.float64]

GAP_PER_OPENING = 0.15
"""Gap of the lips that an opening of 1 adds, in E: the widest of natural speech (../shared/WARP.md: < .25)."""

RAISE_FOR_TEETH = 0.018
"""How far `teeth` = 1 lifts the upper lip's middle off the teeth, in E."""


_USUAL_HALF_WIDTH = 0.28
"""Of a mouth at rest, E; narrower ones (drawn faces) spread and purse less."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Displacements of the control points (COUNT, 3) for one unit of each parameter, for one face."""

    gap: F64
    gap_wide: F64  # for what lies above a gap of .12
    width: F64
    rounding: F64
    closure: F64
    teeth: F64
    half_width: float


def smoothstep(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def make_basis(neutral: F64) -> Basis:
    """The basis of a face whose control points at rest are `neutral` (COUNT, 3), canonical. Constants: WARP.md."""
    zero = np.zeros((points.COUNT, 3))
    gap, wide, width, rounding, closure, teeth = (zero.copy() for _ in range(6))
    outer = neutral[points.OU]
    middle, half = (outer[0, 0] + outer[-1, 0]) / 2, (outer[-1, 0] - outer[0, 0]) / 2
    size = float(np.clip(half / _USUAL_HALF_WIDTH, 0.5, 1.2))
    for at in (points.OU, points.IU, points.OL, points.IL):
        x = neutral[at, 0]
        own_middle, own_half = (x[0] + x[-1]) / 2, max((x[-1] - x[0]) / 2, 1e-6)
        u = np.clip((x - own_middle) / own_half, -1, 1)
        arch = 1 - u * u
        if at == points.OU:
            gap[at, 1] = -0.12 + 0.37 * u * u
            rounding[at, 1], closure[at, 1] = -0.018 * arch, 0.010 * arch
            teeth[at, 1] = -RAISE_FOR_TEETH * arch
        elif at == points.IU:
            gap[at, 1] = -0.05 + 0.30 * np.abs(u) ** 2.4
            teeth[at, 1] = -RAISE_FOR_TEETH * arch
        elif at == points.OL:
            gap[at, 1] = 0.25 + 0.87 * arch
            rounding[at, 1], closure[at, 1] = 0.022 * arch, -0.018 * arch
            wide[at, 1] = 1.45 * u * u * arch
        else:
            gap[at, 1] = 0.25 + 0.70 * arch**1.05
            wide[at, 1] = 1.45 * u * u * arch
        across = np.clip((x - middle) / half, -1, 1)
        width[at, 0], width[at, 1] = 0.5 * size * across, -(0.10 + 0.25 * across * across)
        rounding[at, 0] = -0.055 * size * across
        rounding[at, 2] = -0.05 * arch
        gap[at, 0] = -0.05 * across
        wide[at, 0] = -0.08 * across
    gap[points.JAW_AT, 1] = list(points.JAW.values())
    gap[points.CHIN_AT, 1] = list(points.CHIN.values())
    width *= 0.10  # `width` of 1 is the spread of a clear "ee"
    return Basis(gap, wide, width, rounding, closure, teeth, float(half))


def gap_of(mouth: MouthShape) -> float:
    """Gap that a mouth shape asks for beyond the lips' rest, in E. A full closure closes whatever the opening says."""
    closed = smoothstep(0.0, 1.0, mouth.closure)
    return GAP_PER_OPENING * min(max(mouth.opening, 0.0), 1.5) * (1 - closed)


def displacement(basis: Basis, mouth: MouthShape, gap: float, presence: float) -> F64:
    """Displacement of the control points (COUNT, 3), canonical, for a mouth whose gap (E) is already corrected."""
    rounding = min(max(mouth.rounding, 0.0), 1.0)
    width = min(max(mouth.width, -1.0), 1.0)
    open_lips = smoothstep(0.0, 0.03, gap)
    out = gap * basis.gap + width * basis.width + rounding * basis.rounding
    out += min(max(mouth.closure, 0.0), 1.0) * basis.closure
    out += min(max(mouth.teeth, 0.0), 1.0) * open_lips * (1 - 0.6 * rounding) * basis.teeth
    if gap > 0.12:
        out += (gap - 0.12) * basis.gap_wide
    return np.asarray(presence * out)
