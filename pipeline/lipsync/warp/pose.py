"""Where the skull is in each frame: a 3-D similarity fitted to the points of the mesh that a mouth does not move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.warp import points

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pose:
    """Canonical face coordinates <-> pixels, for n frames.

    Canonical: x along the eyes to the picture's right, y down the face, z away from the camera, in units of E (the
    distance of the outer eye corners in space), origin between the eyes. pixel = scale * axes @ canonical + origin.
    """

    scale: F64  # (n,), pixels a unit
    axes: F64  # (n, 3, 3), rotations
    origin: F64  # (n, 3)

    def of(self, frame: int) -> Pose:
        """The pose of one frame, n = 1."""
        at = slice(frame, frame + 1)
        return Pose(self.scale[at], self.axes[at], self.origin[at])

    def canonical(self, mesh: F64) -> F64:
        """(n, k, 3) pixels to canonical coordinates."""
        flat = np.matmul(mesh - self.origin[:, None], self.axes)
        return np.asarray(flat / self.scale[:, None, None])


def _fit(reference: F64, mesh: F64) -> tuple[F64, F64, F64]:
    """Least-squares similarity reference -> each of the meshes (Umeyama 1991): scales, rotations, origins."""
    centre_r, centre_m = reference.mean(0), mesh.mean(1)
    r, m = reference - centre_r, mesh - centre_m[:, None]
    left, values, right = np.linalg.svd(np.matmul(m.transpose(0, 2, 1), r))
    sign = np.ones_like(values)
    sign[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    axes = np.matmul(left * sign[:, None, :], right)
    scale = (values * sign).sum(1) / max(float((r * r).sum()), 1e-12)
    origin = centre_m - scale[:, None] * np.matmul(axes, centre_r)
    return scale, axes, origin


def _upright(reference: F64) -> F64:
    """The reference turned so that its own eyes lie along x and its face looks along -z, with E = 1."""
    eyes = reference[points.RIGHT_EYE] - reference[points.LEFT_EYE]
    unit = float(np.linalg.norm(eyes))
    x = eyes / unit
    down = reference[152] - reference[10]
    y = down - x * (down @ x)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    centre = (reference[points.RIGHT_EYE] + reference[points.LEFT_EYE]) / 2
    return np.asarray((reference - centre) @ axes / unit)


def fit_pose(landmarks: NDArray[np.float32]) -> Pose:
    """The pose of each frame; landmarks (n, 468, 3) in pixels, all finite."""
    mesh = landmarks.astype(np.float64)
    stable = list(points.STABLE)
    # Start from the most frontal frame: the nose's bridge nearest to the middle of the eyes.
    eyes = np.abs(mesh[:, points.RIGHT_EYE, 2] - mesh[:, points.LEFT_EYE, 2])
    reference = _upright(mesh[int(np.argmin(eyes))])
    for _ in range(3):
        scale, axes, origin = _fit(reference[stable], mesh[:, stable])
        pose = Pose(scale, axes, origin)
        reference = _upright(np.median(pose.canonical(mesh), axis=0))
    return Pose(*_fit(reference[stable], mesh[:, stable]))
