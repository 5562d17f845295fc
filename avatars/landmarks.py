"""Faces in one picture: MediaPipe's detector and 468-point mesh, run by OpenCV on one thread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatars.avatar import F32, U8
from avatars.models import FaceModels

POINTS = 468
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners, as the person has them; their distance is the unit E of all lengths
_DETECT, _MESH = 128, 192  # input sizes of the two models
CONFIDENT = 0.5  # of the mesh model: below it, the face is lost
_ROI_SCALE = 1.5
_OVERLAP = 0.3  # share of the smaller box that two detections of one face have in common


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that was found. box: x0 y0 x1 y1 in pixels. score: 0..1.

    keypoints: (6, 2) float32 pixels: right eye, left eye, nose tip, mouth, right ear, left ear (right: the person's).
    """

    box: tuple[float, float, float, float]
    score: float
    keypoints: F32

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Face:
    """A detection whose mesh (468, 3) the mesh model confirms, with confidence `score`."""

    detection: Detection
    mesh: F32
    score: float

    @property
    def sure(self) -> bool:
        """Whether this is surely a face: those of the clips tried have 0.89 and 1.0, a plant reached 0.70 and 0.93."""
        return self.detection.score >= 0.75 and self.score >= 0.97


def _anchors() -> F32:
    """Centres (896, 2), 0..1, of the short-range detector's SSD anchors: 16x16 cells of 2, then 8x8 of 6.

    MediaPipe, face_detection_short_range.pbtxt: strides 8, 16, 16, 16; fixed anchor size, aspect ratio 1.
    """
    rows = []
    for cells, each in ((16, 2), (8, 6)):
        y, x = np.mgrid[0:cells, 0:cells]
        centres = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells
        rows.append(np.repeat(centres, each, axis=0))
    return np.concatenate(rows).astype(np.float32)


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -80, 80))))


class FaceTracker:
    """Finds faces and their meshes. Not thread-safe. Sets OpenCV to one thread in this process."""

    def __init__(self, models: FaceModels) -> None:
        cv2.setNumThreads(1)
        # OpenCV 5's default engine silently drops the second output of these models: the classic one keeps both.
        self._detector = cv2.dnn.readNetFromTFLite(str(models.detector), cv2.dnn.ENGINE_CLASSIC)
        self._mesh = cv2.dnn.readNetFromTFLite(str(models.landmarks), cv2.dnn.ENGINE_CLASSIC)
        self._anchors = _anchors()
        self._mesh_outputs = self._mesh.getUnconnectedOutLayersNames()

    def detect(self, bgr: U8, threshold: float = 0.5) -> list[Detection]:
        """All faces in a (h, w, 3) BGR picture, the largest first.

        The detector sees 128x128 pixels and faces from about an eighth of them, so the whole picture is looked at, and
        then overlapping squares of it: as wide as its short side, and half of that.
        """
        height, width = bgr.shape[:2]
        short = min(height, width)
        found = self._detect_square(bgr, 0, 0, max(height, width), threshold)
        for side in (short, short // 2):
            if side < 96 or side == max(height, width):
                continue
            for y in _starts(height, side):
                for x in _starts(width, side):
                    part = bgr[y : y + side, x : x + side]
                    # A face cut by a tile's edge is seen whole in its neighbour.
                    margin = 0.02 * side
                    found += [
                        d
                        for d in self._detect_square(part, x, y, side, threshold)
                        if _inside(d.box, x, y, side, margin, width, height)
                    ]
        return sorted(_merge(found), key=lambda d: -d.size)

    def faces(self, bgr: U8) -> list[Face]:
        """What both models take for faces (hands mostly fail), with their meshes; the sure and large ones first."""
        found = []
        for detection in self.detect(bgr):
            mesh, _ = self.landmarks(bgr, detection)
            mesh, score = self.landmarks(bgr, mesh)
            if score >= CONFIDENT:
                found.append(Face(detection, mesh, score))
        return sorted(found, key=lambda f: (not f.sure, -f.detection.size))

    def landmarks(self, bgr: U8, start: Detection | F32) -> tuple[F32, float]:
        """The mesh of one face: (468, 3) float32 in pixels (z in the same unit, negative towards the camera), and the
        model's confidence 0..1 that a face is there (below 0.5: lost, detect again).

        start: where to look: a detection, or the mesh of the frame before.
        """
        if isinstance(start, Detection):
            x0, y0, x1, y1 = start.box
            right, left = start.keypoints[0], start.keypoints[1]
        else:
            (x0, y0), (x1, y1) = start[:, :2].min(0), start[:, :2].max(0)
            right, left = start[RIGHT_EYE, :2], start[LEFT_EYE, :2]
        angle = math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))
        side = _ROI_SCALE * max(x1 - x0, y1 - y0, 8.0)
        scale = side / _MESH
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        half = _MESH / 2
        # Crop pixel (u, v) lies at picture pixel `forward @ (u, v, 1)`.
        forward = np.array(
            [[cos, -sin, cx - cos * half + sin * half], [sin, cos, cy - sin * half - cos * half]], np.float64
        )
        crop = cv2.warpAffine(
            bgr, forward, (_MESH, _MESH), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, swapRB=True))
        outputs = self._mesh.forward(self._mesh_outputs)
        flat = next(o for o in outputs if o.size == POINTS * 3)
        flag = next(o for o in outputs if o.size == 1)
        points = flat.reshape(POINTS, 3).astype(np.float64)
        mesh = np.empty((POINTS, 3), np.float32)
        mesh[:, :2] = points[:, :2] @ forward[:, :2].T + forward[:, 2]
        mesh[:, 2] = points[:, 2] * scale
        return mesh, float(_sigmoid(flag.reshape(1))[0])

    def _detect_square(self, bgr: U8, left: int, top: int, side: int, threshold: float) -> list[Detection]:
        """Faces in a picture letterboxed to a square of `side` pixels; (left, top): its place in the whole picture."""
        height, width = bgr.shape[:2]
        dx, dy = (side - width) / 2, (side - height) / 2
        scale = _DETECT / side
        small = cv2.resize(
            bgr, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
        square = np.zeros((_DETECT, _DETECT, 3), np.uint8)
        oy, ox = round(dy * scale), round(dx * scale)
        square[oy : oy + small.shape[0], ox : ox + small.shape[1]] = small[: _DETECT - oy, : _DETECT - ox]
        self._detector.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True))
        outputs = self._detector.forward(["classificators", "regressors"])
        scores = _sigmoid(outputs[0].reshape(-1))
        rows = np.flatnonzero(scores >= threshold)
        if not rows.size:
            return []
        raw = outputs[1].reshape(-1, 16)[rows] / _DETECT
        centre = self._anchors[rows]
        middle, size = raw[:, :2] + centre, raw[:, 2:4]
        points = raw[:, 4:].reshape(-1, 6, 2) + centre[:, None]
        offset = np.array([left - dx, top - dy])
        found = []
        for i, row in enumerate(rows):
            low, high = (middle[i] - size[i] / 2) * side + offset, (middle[i] + size[i] / 2) * side + offset
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            found.append(Detection(box, float(scores[row]), (points[i] * side + offset).astype(np.float32)))
        return _merge(found)


def _starts(length: int, side: int) -> list[int]:
    """Left edges of squares that cover `length` with half a square's overlap."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side / 2)) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _inside(
    box: tuple[float, float, float, float], x: int, y: int, side: int, margin: float, width: int, height: int
) -> bool:
    """Whether a box keeps clear of those edges of its tile that are not the picture's own."""
    return (
        (x == 0 or box[0] > x + margin)
        and (y == 0 or box[1] > y + margin)
        and (x + side >= width or box[2] < x + side - margin)
        and (y + side >= height or box[3] < y + side - margin)
    )


def _merge(found: list[Detection]) -> list[Detection]:
    """One detection a face: those that overlap are averaged, weighted by score (MediaPipe's weighted suppression)."""
    rest = sorted(found, key=lambda d: -d.score)
    kept = []
    while rest:
        best = rest[0]
        same = [d for d in rest if _overlap(best.box, d.box) > _OVERLAP]
        rest = [d for d in rest if _overlap(best.box, d.box) <= _OVERLAP]
        weights = np.array([d.score for d in same])
        box = np.average([d.box for d in same], axis=0, weights=weights)
        points = np.average([d.keypoints for d in same], axis=0, weights=weights).astype(np.float32)
        kept.append(Detection((float(box[0]), float(box[1]), float(box[2]), float(box[3])), best.score, points))
    return kept


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over the smaller area: a face and a piece of it are one face too."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return w * h / max(smaller, 1e-9)
