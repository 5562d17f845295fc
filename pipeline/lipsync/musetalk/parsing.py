"""What is skin, nose and mouth around a face: the label map that the blend mask is cut from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.blending import LABELS, crop_box
from pipeline.lipsync.musetalk.boxes import OVAL
from pipeline.lipsync.musetalk.prepared import Box, Parsing

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

SKIN, NOSE, MOUTH, UPPER_LIP, LOWER_LIP = 1, 10, 11, 12, 13

# MediaPipe's face mesh, from the picture's left corner of the mouth to its right one.
# fmt: off
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_NOSE = (168, 6, 193, 417, 122, 351, 129, 358, 48, 278, 64, 294, 98, 327, 97, 326, 2)
# fmt: on
_FINE = 4  # polygons are drawn to a 16th of a pixel


class FaceParser(Protocol):
    """Sorts the pixels around faces into BiSeNet's 19 classes. `source` is kept with the prepared data."""

    source: Parsing

    def labels(self, frames: Sequence[U8], boxes: Sequence[Box], landmarks: F32) -> list[U8]:
        """BGR frames, their face boxes and (len(frames), 468, 3) landmarks -> label maps (512, 512) of `crop_box`."""


class LandmarkParser:
    """Draws the classes from the face's outline: where BiSeNet's weights are not there. Hair and hands are not seen."""

    source: Parsing = "landmarks"

    def labels(self, frames: Sequence[U8], boxes: Sequence[Box], landmarks: F32) -> list[U8]:
        return [draw(box, points) for box, points in zip(boxes, landmarks, strict=True)]


def draw(box: Box, landmarks: F32) -> U8:
    """(468, 3) landmarks in pixels of the frame -> the label map (512, 512) of the box's crop: 0, 1, 10, 11, 12, 13."""
    left, top, right, _ = crop_box(box)
    scale = LABELS / max(right - left, 1)
    points = (landmarks[:, :2].astype(np.float64) - (left, top) + 0.5) * scale - 0.5
    labels = np.zeros((LABELS, LABELS), np.uint8)
    _fill(labels, points[list(OVAL)], SKIN)
    _fill(labels, cv2.convexHull(points[list(_NOSE)].astype(np.float32))[:, 0], NOSE)
    _fill(labels, points[[*_UPPER_INNER, *reversed(_LOWER_INNER[1:-1])]], MOUTH)
    _fill(labels, points[[*_UPPER_OUTER, *reversed(_UPPER_INNER)]], UPPER_LIP)
    _fill(labels, points[[*_LOWER_OUTER, *reversed(_LOWER_INNER)]], LOWER_LIP)
    return labels


def _fill(labels: U8, outline: NDArray[Any], value: int) -> None:
    fine = np.rint(outline * (1 << _FINE)).astype(np.int32)
    cv2.fillPoly(labels, [fine], (value,), lineType=cv2.LINE_8, shift=_FINE)
