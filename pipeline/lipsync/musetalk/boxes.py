"""The face box of each frame, from MediaPipe's landmarks, as MuseTalk's training cut it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.settings import MuseTalkSettings

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# MediaPipe's face mesh. The reference uses 68 points (ibug): its point 29, on the bridge of the nose, lies between 195
# and 5; its lowest is the chin, 152; its sides are those of the face's oval.
NOSE = (195, 5)
EYES = (33, 263)
# fmt: off
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
# fmt: on
SMALLEST = 32  # pixels; a smaller box shows no mouth worth drawing
_SIGMA = 2.0  # frames
_CUT = 0.5  # of the eye distance from one frame to the next


def boxes(landmarks: F32, width: int, height: int, settings: MuseTalkSettings) -> I32:
    """(n, 468, 3) landmarks of frames of width x height -> (n, 4) int32: x0 y0 x1 y1; zero: no box can be used there.

    With yh = y of point 29 and yb that of the chin: (min x, 2 yh - yb, max x, yb), so that yh is the middle and the
    lower half, which is drawn anew, begins at the nose. v1.5 takes `extra_margin` more below. Inside the frame.
    """
    exact = smoothed(_exact(landmarks, settings), landmarks)
    exact[:, 3] += settings.margin
    whole = np.rint(exact).astype(np.int32)
    whole[:, 0::2] = whole[:, 0::2].clip(0, width)
    whole[:, 1::2] = whole[:, 1::2].clip(0, height)
    small = (whole[:, 2] - whole[:, 0] < SMALLEST) | (whole[:, 3] - whole[:, 1] < SMALLEST)
    whole[small] = 0
    return whole


def smoothed(values: F64, landmarks: F32) -> F64:
    """(n, k) values over time through a Gaussian of two frames, but not across a cut.

    A box that moves by a pixel shifts everything the model draws: rounding must not see the tracker's last noise.
    """
    from scipy.ndimage import gaussian_filter1d

    steps = np.hypot(*np.diff(landmarks[:, 1, :2], axis=0).T)
    cuts = np.flatnonzero(steps > _CUT * eye_distance(landmarks)[1:]) + 1
    pieces = [gaussian_filter1d(piece, _SIGMA, axis=0, mode="nearest") for piece in np.split(values, cuts)]
    return np.concatenate(pieces)


def eye_distance(landmarks: F32) -> F64:
    """(n,): of the outer corners of the eyes, in pixels."""
    across = landmarks[:, EYES[0], :2] - landmarks[:, EYES[1], :2]
    return np.asarray(np.hypot(across[:, 0], across[:, 1]), np.float64)


def _exact(landmarks: F32, settings: MuseTalkSettings) -> F64:
    points = landmarks[:, :, :2].astype(np.float64)
    oval = points[:, OVAL]
    middle = points[:, NOSE, 1].mean(axis=1) + settings.shift + settings.calibration * eye_distance(landmarks)
    bottom = oval[:, :, 1].max(axis=1)
    return np.stack([oval[:, :, 0].min(axis=1), 2 * middle - bottom, oval[:, :, 0].max(axis=1), bottom], axis=1)
