"""One finished picture, for looking and measuring; a session itself never leaves I420."""

from __future__ import annotations

import cv2
import numpy as np

from avatars.avatar import U8, Avatar, planes
from pipeline.media import MouthPatch


def i420(avatar: Avatar, frame: int, patch: MouthPatch | None) -> U8:
    """A copy of the avatar's frame, flat I420, with a patch on it."""
    whole = np.array(avatar.frames[frame])
    if patch is not None:
        y, u, v = planes(whole, avatar.width, avatar.height)
        height, width = patch.luma.shape
        y[patch.y : patch.y + height, patch.x : patch.x + width] = patch.luma
        half = (slice(patch.y // 2, (patch.y + height) // 2), slice(patch.x // 2, (patch.x + width) // 2))
        u[half], v[half] = patch.u, patch.v
    return whole


def picture(avatar: Avatar, frame: int, patch: MouthPatch | None = None) -> U8:
    """The same as (height, width, 3) BGR."""
    flat = i420(avatar, frame, patch).reshape(avatar.height * 3 // 2, avatar.width)
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_YUV2BGR_I420), np.uint8)
