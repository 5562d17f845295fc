"""The inverse displacement field: thin-plate splines through the moved control points, on a coarse grid, masked."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

GRID = 28
"""Nodes of the field a side."""

LAMBDA = 2e-3
"""Smoothing of the splines (WARP.md), for lengths in units of E."""

RING = 24
_ANGLES = np.linspace(0, 2 * np.pi, RING, endpoint=False)
_EXPONENT = 2.5
_EDGE = np.stack([np.sign(f) * np.abs(f) ** (2 / _EXPONENT) for f in (np.cos(_ANGLES), np.sin(_ANGLES))])


@dataclass(frozen=True, slots=True)
class Mask:
    """A superellipse around mouth and chin, turned with the head, in pixels. Outside it nothing moves."""

    centre: F64  # (2,)
    half: F64  # (2,) along the turned axes
    roll: float  # radians

    def ring(self) -> F64:
        """Points on its edge, (RING, 2)."""
        a, b = self._turn(_EDGE[0] * self.half[0], _EDGE[1] * self.half[1], self.roll)
        return self.centre + np.stack([a, b], axis=-1)

    @staticmethod
    def _turn(a: F64, b: F64, roll: float) -> tuple[F64, F64]:
        c, s = np.cos(roll), np.sin(roll)
        return c * a - s * b, s * a + c * b

    def box(self) -> tuple[float, float, float, float]:
        """Upright rectangle around it: x0, y0, x1, y1."""
        c, s = abs(np.cos(self.roll)), abs(np.sin(self.roll))
        w, h = c * self.half[0] + s * self.half[1], s * self.half[0] + c * self.half[1]
        x, y = self.centre
        return float(x - w), float(y - h), float(x + w), float(y + h)

    def weight(self, xy: F64) -> F64:
        """1 inside, 0 outside, falling smoothly from .60 to .98 of the radius; xy (..., 2) pixels."""
        d = xy - self.centre
        a, b = self._turn(d[..., 0], d[..., 1], -self.roll)
        rho = (np.abs(a / self.half[0]) ** _EXPONENT + np.abs(b / self.half[1]) ** _EXPONENT) ** (1 / _EXPONENT)
        t = np.clip((rho - 0.60) / 0.38, 0, 1)
        return np.asarray(1 - t * t * (3 - 2 * t))


def _kernel(a: F32, b: F32) -> F32:
    """r² ln r² between two sets of points (m, 2), (k, 2) -> (m, k)."""
    r2 = a @ (b.T * np.float32(-2))
    r2 += (a * a).sum(1)[:, None]
    r2 += (b * b).sum(1)
    np.maximum(r2, np.float32(1e-8), out=r2)
    log = cv2.log(r2)  # a third of numpy's time
    log *= r2
    return np.asarray(log, np.float32)


def inverse_fields(nodes: F32, target: F64, shift: F64, fixed: F64, groups: tuple[NDArray[np.intp], ...]) -> list[F32]:
    """For each group of rows of `target` (k, 2): the values at `nodes` (m, 2) of the smooth field that is `shift` at
    those targets and zero at `fixed` (r, 2).

    All in units of E around the mouth's centre. `shift` points from where a pixel goes to where it comes from.
    """
    at = np.concatenate([target, fixed])
    at32 = at.astype(np.float32)
    among, towards = _kernel(at32, at32), _kernel(nodes, at32)
    ring = np.arange(len(target), len(at))
    out = []
    for group in groups:
        rows = np.concatenate([group, ring])
        k = len(rows)
        system = np.zeros((k + 3, k + 3))
        system[:k, :k] = among[np.ix_(rows, rows)]
        system[np.arange(k), np.arange(k)] = LAMBDA
        system[:k, k] = system[k, :k] = 1
        system[:k, k + 1 :] = at[rows]
        system[k + 1 :, :k] = at[rows].T
        value = np.zeros((k + 3, 2))
        value[: len(group)] = shift[group]
        weight = np.linalg.solve(system, value).astype(np.float32)
        spread = np.zeros((len(at), 2), np.float32)
        spread[rows] = weight[:k]
        out.append(towards @ spread + (weight[k] + nodes @ weight[k + 1 :]))
    return out
