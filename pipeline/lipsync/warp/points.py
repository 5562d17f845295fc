"""The mesh points that the warp uses, by their place on the mouth and around it (MediaPipe face mesh numbering)."""

from __future__ import annotations

import numpy as np

LEFT_EYE, RIGHT_EYE = 33, 263
"""Outer eye corners as the picture shows them; their distance E is the unit of all lengths here."""

OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Lip contours from the picture's left to its right; the first and last points (the corners) belong to both lips."""

JAW = {
    152: 0.60, 148: 0.57, 377: 0.57, 176: 0.50, 400: 0.50, 149: 0.36, 378: 0.36, 150: 0.20, 379: 0.20,
    136: 0.08, 365: 0.08, 172: 0.0, 397: 0.0, 58: 0.0, 288: 0.0,
}  # fmt: skip
"""Points of the jaw line, and how far each follows the opening."""

CHIN = {18: 1.12, 200: 0.88, 175: 0.68}
"""Points of the chin's middle, from under the lip downwards, and how far each follows the opening."""

STILL = (2, 98, 327)
"""Points under the nose, which a mouth does not move."""

STABLE = (33, 133, 362, 263, 168, 6, 197, 195, 10, 151, 9, 8, 21, 251, 54, 284, 103, 332, 67, 297, 127, 356, 5)
"""Points that turn with the skull whatever the mouth does: they give the head's pose."""

USED = (*OUTER_UPPER, *INNER_UPPER, *OUTER_LOWER, *INNER_LOWER, *JAW, *CHIN, *STILL)
"""Order of the control points in every array of this package."""

COUNT = len(USED)
MOUTH = 11
OU, IU, OL, IL = (slice(k * MOUTH, (k + 1) * MOUTH) for k in range(4))
UPPER = np.r_[0 : 2 * MOUTH]
LOWER = np.r_[2 * MOUTH : 4 * MOUTH]
AROUND = np.r_[4 * MOUTH : COUNT]
JAW_AT = slice(4 * MOUTH, 4 * MOUTH + len(JAW))
CHIN_AT = slice(4 * MOUTH + len(JAW), 4 * MOUTH + len(JAW) + len(CHIN))
CHIN_TIP = 4 * MOUTH
