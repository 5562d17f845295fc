"""Faces out of nothing: a mesh with every point that preparation reads, and avatars with such a face."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import Avatar, Faces
from pipeline.lipsync.musetalk import boxes, parsing

GOLDEN = (
    Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
    / "musetalk"
    / "golden"
)


def mesh(x: float, y: float, size: float = 60.0) -> np.ndarray:
    """(468, 3): a face, point 29 of its nose at (x, y), 2 * size wide, 2.4 * size high, its chin 1.2 * size below."""
    points = np.zeros((468, 3), np.float32)
    points[:, :2] = x, y
    turn = 2 * np.pi * np.arange(len(boxes.OVAL)) / len(boxes.OVAL)
    points[list(boxes.OVAL), 0] = x + size * np.sin(turn)
    points[list(boxes.OVAL), 1] = y - 1.2 * size * np.cos(turn)
    points[boxes.EYES[0], :2], points[boxes.EYES[1], :2] = (
        (x - 0.6 * size, y - 0.3 * size),
        (x + 0.6 * size, y - 0.3 * size),
    )
    across = np.linspace(-1, 1, 11)
    bulge = np.sqrt(1 - across**2)
    lips = y + 0.65 * size
    for names, width, height in (
        (parsing._UPPER_OUTER, 0.45, -0.16),
        (parsing._UPPER_INNER, 0.38, -0.06),
        (parsing._LOWER_INNER, 0.38, 0.06),
        (parsing._LOWER_OUTER, 0.45, 0.18),
    ):
        points[list(names), 0] = x + width * size * across
        points[list(names), 1] = lips + height * size * bulge
    points[list(parsing._NOSE), 0] = x + 0.2 * size * np.array([0, 0, *([-1, 1] * 7), 0])
    points[list(parsing._NOSE), 1] = np.linspace(y - 0.5 * size, y + 0.35 * size, 17)
    points[list(boxes.NOSE), 1] = y - 3, y + 3
    return points


def avatar(folder: Path, landmarks: np.ndarray, width: int = 320, height: int = 256, seed: int = 0) -> Avatar:
    """An avatar of soft random pictures with these landmarks (n, 468, 3)."""
    random = np.random.default_rng(seed)
    frames = []
    for _ in landmarks:
        small = random.integers(40, 220, (9, 11, 3), np.uint8)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        frames.append(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).ravel())
    low, high = landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)
    mouth = np.tile(np.array([0, 0, width, height], np.int32), (len(landmarks), 1))
    faces = Faces(landmarks.astype(np.float32), np.concatenate([low, high], 1).astype(np.float32), mouth)
    return Avatar("made", folder, width, height, np.stack(frames), faces)
