"""The face in every frame: found, followed, bridged where it is lost for a moment, and smoothed in time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avatars.avatar import F32, FPS, I32, U8, Faces
from avatars.errors import AvatarError
from avatars.landmarks import CONFIDENT, LEFT_EYE, RIGHT_EYE, Face, FaceTracker

# WARP.md: second-difference rms of 0.09 px at rest.
_WINDOW, _ORDER = 9, 2
_MAX_GAP = FPS  # frames that may be bridged in one go
_LOOKS = 8  # frames in which all faces are counted
_RIVAL = 0.4  # a second face counts from this part of the first one's size
_TURNED = 0.05  # the detector's score of a picture turned upside down may be this much higher before it counts
_RIVAL_SHARE = 0.25  # and if it is there in this share of the looks
CHIN = 152
LIP_CORNERS = (61, 291)
LIPS = (13, 14)  # inner middle, upper and lower
# WARP.md's mask, in units of E, and a little room around it for rounding and filters.
_HALF_WIDTH, _ABOVE, _BELOW, _ROOM = 0.66, 0.30, 0.42, 0.04


@dataclass(frozen=True, slots=True)
class Track:
    """Raw result of following: landmarks (n, 468, 3), NaN where the face is lost; rivals: share of looks with two;
    turned: share of looks in which a face is found rather upside down.
    """

    landmarks: F32
    rivals: float
    turned: float


class Follower:
    """Follows the main face through the frames, in order; feed every frame once, then `track`."""

    def __init__(self, tracker: FaceTracker, count: int) -> None:
        self._tracker = tracker
        self._looks = {round(i * (count - 1) / (_LOOKS - 1)) for i in range(_LOOKS)}
        self._meshes: list[F32] = []
        self._now: F32 | None = None
        self._last: F32 | None = None
        self._lost = 0
        self._crowded = 0
        self._turned = 0
        self._looked = 0
        self._nothing = np.full((468, 3), np.nan, np.float32)

    def feed(self, bgr: U8) -> None:
        if len(self._meshes) in self._looks:
            self._look(bgr)
        mesh = None
        if self._now is not None:
            mesh, score = self._tracker.landmarks(bgr, self._now)
            if score < CONFIDENT:
                mesh = None
        if mesh is None and (self._lost < 5 or self._lost % 5 == 0):
            mesh = self._find(bgr)
        if mesh is None:
            self._lost += 1
        else:
            self._lost, self._last = 0, mesh
        self._now = mesh
        self._meshes.append(self._nothing if mesh is None else mesh)

    def track(self) -> Track:
        looked = max(1, self._looked)
        return Track(np.stack(self._meshes), self._crowded / looked, self._turned / looked)

    def _look(self, bgr: U8) -> None:
        self._looked += 1
        faces = self._tracker.faces(bgr)
        if len(faces) > 1 and faces[1].sure and faces[1].detection.size >= _RIVAL * faces[0].detection.size:
            self._crowded += 1
        # The mesh fits a face that stands on its head as if it were upright; the detector is less sure of it: seven
        # faces had .91 to .96 upright, and .82 at most the other way.
        turned = np.asarray(cv2.rotate(bgr, cv2.ROTATE_180), np.uint8)
        if self._score(turned) > self._score(bgr) + _TURNED:
            self._turned += 1

    def _score(self, bgr: U8) -> float:
        return max((found.score for found in self._tracker.detect(bgr)), default=0.0)

    def _find(self, bgr: U8) -> F32 | None:
        faces = self._tracker.faces(bgr)
        if not faces:
            return None
        return (min(faces, key=self._distance) if self._last is not None else faces[0]).mesh

    def _distance(self, face: Face) -> float:
        assert self._last is not None
        return float(np.hypot(*(face.mesh[1, :2] - self._last[1, :2])))


def several(track: Track) -> bool:
    """Whether a second person is in the picture for good (someone who passes by is not)."""
    return track.rivals >= _RIVAL_SHARE


def upside_down(track: Track) -> bool:
    """Whether the face stands on its head."""
    return track.turned > 0.5


def bridge(landmarks: F32) -> tuple[F32, int]:
    """Landmarks without NaN, and how many frames were filled in: linearly between, held at the ends.

    Raises AvatarError: no_face; face_lost when a gap is longer than a second.
    """
    known: NDArray[np.bool_] = ~np.isnan(landmarks[:, 0, 0])
    count = len(landmarks)
    where = np.flatnonzero(known)
    if where.size < max(2, count // 20):
        raise AvatarError("no_face")
    edges = np.concatenate([[-1], where, [count]])
    longest = int(np.diff(edges).max()) - 1
    if longest > _MAX_GAP:
        raise AvatarError(
            "face_lost", f"The face is out of view for {longest / FPS:.1f} s. Look at the camera all the time."
        )
    if where.size == count:
        return landmarks, 0
    flat = landmarks.reshape(count, -1)
    at = np.arange(count)
    filled = np.empty_like(flat)
    for column in range(flat.shape[1]):
        filled[:, column] = np.interp(at, where, flat[where, column])
    return filled.reshape(landmarks.shape), count - int(where.size)


def smooth(landmarks: F32) -> F32:
    """Savitzky-Golay over time, but not across a cut (a jump of more than E/2 from one frame to the next)."""
    from scipy.signal import savgol_filter  # takes 0.3 s to load, which a clip that is refused need not wait for

    nose = landmarks[:, 1, :2]
    jumps = np.flatnonzero(np.hypot(*np.diff(nose, axis=0).T) > 0.5 * eye_distance(landmarks)[1:]) + 1
    pieces = []
    for piece in np.split(landmarks, jumps):
        window = min(_WINDOW, len(piece) - (1 - len(piece) % 2))
        pieces.append(savgol_filter(piece, window, _ORDER, axis=0) if window > _ORDER else piece)
    return np.concatenate(pieces).astype(np.float32)


def eye_distance(landmarks: F32) -> F32:
    """E: distance of the outer eye corners in pixels, (n,)."""
    across = landmarks[:, LEFT_EYE, :2] - landmarks[:, RIGHT_EYE, :2]
    return np.asarray(np.hypot(across[:, 0], across[:, 1]), np.float32)


def faces(landmarks: F32, width: int, height: int) -> Faces:
    """Boxes and mouth regions of smoothed landmarks. The mouth region holds the warp engine's mask at any roll."""
    xy = landmarks[:, :, :2]
    box = np.concatenate([xy.min(1), xy.max(1)], axis=1).astype(np.float32)
    unit = eye_distance(landmarks)
    across = (xy[:, LEFT_EYE] - xy[:, RIGHT_EYE]) / unit[:, None]
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    centre = (xy[:, LIP_CORNERS[0]] + xy[:, LIP_CORNERS[1]]) / 2
    chin = np.maximum(((xy[:, CHIN] - centre) * down).sum(1), 0.0)
    corners = []
    for side in (-1, 1):
        for end in (-(_ABOVE + _ROOM) * unit, chin + (_BELOW + _ROOM) * unit):
            corners.append(centre + side * (_HALF_WIDTH + _ROOM) * unit[:, None] * across + end[:, None] * down)
    points = np.stack(corners, axis=1)
    low, high = np.floor(points.min(1) / 2) * 2, np.ceil(points.max(1) / 2) * 2
    limit = np.array([width, height])
    low, high = np.clip(low, 0, limit - 2), np.clip(high, 2, limit)
    mouth: I32 = np.concatenate([low, np.maximum(high, low + 2)], axis=1).astype(np.int32)
    return Faces(landmarks.astype(np.float32), box, mouth)


def to_bgr(i420: U8) -> U8:
    """A (h * 3 / 2, w) frame for the face models, which do not mind the matrix."""
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420), np.uint8)
