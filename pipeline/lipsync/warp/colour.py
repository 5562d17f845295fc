"""Colours in the picture's own terms: BT.601 limited-range YUV, as in the avatar's I420 frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_TO_BGR = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]])
_FROM_BGR = np.linalg.inv(_TO_BGR)
_OFFSET = np.array([16.0, 128.0, 128.0])


def to_bgr(yuv: F64) -> F64:
    """(3,) YUV to BGR, 0..255."""
    return np.asarray(np.clip(_TO_BGR @ (yuv - _OFFSET), 0, 255))


def from_bgr(bgr: F64) -> F64:
    """(3,) BGR, 0..255, to YUV."""
    return np.asarray(_FROM_BGR @ bgr + _OFFSET)
