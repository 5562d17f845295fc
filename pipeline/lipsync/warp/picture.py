"""One finished picture, for looking and measuring; a session itself never leaves I420."""

from __future__ import annotations

import cv2
import numpy as np

from avatars.avatar import U8, Avatar, planes
from pipeline.media import MouthPatch


def lay(patch: MouthPatch, frame: U8, width: int, height: int) -> None:
    """Copy a patch onto a flat I420 frame, in place."""
    y, u, v = planes(frame, width, height)
    rows, columns = patch.luma.shape
    y[patch.y : patch.y + rows, patch.x : patch.x + columns] = patch.luma
    half = (slice(patch.y // 2, (patch.y + rows) // 2), slice(patch.x // 2, (patch.x + columns) // 2))
    u[half], v[half] = patch.u, patch.v


def picture(avatar: Avatar, frame: int, patch: MouthPatch | None = None) -> U8:
    """The avatar's frame with a patch on it, (height, width, 3) BGR."""
    flat = np.array(avatar.frames[frame])
    if patch is not None:
        lay(patch, flat, avatar.width, avatar.height)
    return np.asarray(
        cv2.cvtColor(flat.reshape(avatar.height * 3 // 2, avatar.width), cv2.COLOR_YUV2BGR_I420), np.uint8
    )
