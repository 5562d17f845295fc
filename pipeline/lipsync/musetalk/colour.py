"""The avatar's I420 frames as the BGR pictures that the model sees, and back."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avatars.avatar import Avatar

U8 = NDArray[np.uint8]

# OpenCV's matrix is BT.601, the frames are BT.709: the model sees skin 4 grey levels off, and what it draws goes back
# through the inverse, so that it fits the frame. Both ways must use the same matrix, hence one room for both.


def bgr(avatar: Avatar, n: int) -> U8:
    """Frame n as (height, width, 3) BGR."""
    flat = avatar.frames[n].reshape(avatar.height * 3 // 2, avatar.width)
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_YUV2BGR_I420), np.uint8)


def i420(picture: U8) -> tuple[U8, U8, U8]:
    """(h, w, 3) BGR of even size -> planes Y (h, w), U and V (h/2, w/2)."""
    height, width = picture.shape[:2]
    flat = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8).ravel()
    luma, chroma = height * width, height * width // 4
    half = (height // 2, width // 2)
    return (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    )
