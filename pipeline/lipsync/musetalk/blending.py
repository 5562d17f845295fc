"""The blend mask around a face, and a generated face mixed into its frame by it."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
Mode = Literal["raw", "jaw"]

LABELS = 512  # side of BiSeNet's label map
EXPAND = 1.5
CHEEK = 90  # half width, in label pixels, of the middle that keeps the dilated skin


def crop_box(box: Box) -> Box:
    """The square around a face box that the mask lives on; it may reach out of the frame."""
    x0, y0, x1, y1 = box
    cx, cy = (x0 + x1) // 2, (y0 + y1) // 2
    half = int(max(x1 - x0, y1 - y0) // 2 * EXPAND)
    return cx - half, cy - half, cx + half, cy + half


def region(labels: U8, mode: Mode, cheek: int = CHEEK) -> U8:
    """BiSeNet's classes (512, 512) -> the region that may change, 0 or 255.

    Classes: 1 skin, 10 nose, 11 mouth, 12 and 13 lips. `raw` is v1.0's, `jaw` v1.5's; cheek: half width of its middle.
    """
    if mode == "raw":
        return np.where(np.isin(labels, (1, 11, 12, 13)), 255, 0).astype(np.uint8)
    skin = np.where(labels == 1, 255, 0).astype(np.uint8)
    grown = cv2.dilate(skin, _cone(), iterations=1)
    shrunk = cv2.erode(grown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
    middle = np.zeros_like(skin)
    middle[:, LABELS // 2 - cheek + 1 : LABELS // 2 + cheek] = 255
    out = np.where(middle > 0, grown, shrunk)
    out[labels == 10] = 0
    out[np.isin(labels, (11, 12, 13))] = 255
    return np.asarray(out, np.uint8)


def mask(labels: U8, box: Box, mode: Mode, cheek: int = CHEEK) -> U8:
    """The soft mask on the crop box: (side, side), 0..255."""
    left, top, right, bottom = crop_box(box)
    x0, y0, x1, y1 = box
    side = right - left
    whole = _bicubic(region(labels, mode, cheek), side, bottom - top)
    kept = np.zeros_like(whole)
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    kept[inside] = whole[inside]
    kept[: int(kept.shape[0] * 0.5)] = 0
    kernel = int(0.1 * side // 2 * 2) + 1
    return np.asarray(cv2.GaussianBlur(kept, (kernel, kernel), 0), np.uint8)


def blend(frame: U8, face: U8, box: Box, soft: U8) -> None:
    """Mix a generated face (256, 256, 3) into `frame` (BGR), in place, by the mask of its crop box.

    Nothing outside the face box changes: there the mixed pixels are the frame's own.
    """
    x0, y0, x1, y1 = box
    left, top, _, _ = crop_box(box)
    height, width = frame.shape[:2]
    fx0, fy0, fx1, fy1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    new = cv2.resize(face, (x1 - x0, y1 - y0))[fy0 - y0 : fy1 - y0, fx0 - x0 : fx1 - x0].astype(np.uint32)
    weight = soft[fy0 - top : fy1 - top, fx0 - left : fx1 - left].astype(np.uint32)[..., None]
    old = frame[fy0:fy1, fx0:fx1]
    total = old.astype(np.uint32) * (255 - weight) + new * weight + 128
    old[...] = (total + (total >> 8)) >> 8


def _cone() -> U8:
    """33x33: rows 0-9 empty, rows 10-20 of width 1, 3, …, 21, rows 21-32 of width 21, centred."""
    kernel = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row - 10, 10)
        kernel[row, 16 - half : 16 + half + 1] = 1
    return kernel


def _bicubic(image: U8, width: int, height: int) -> U8:
    """Pillow's bicubic (a = -0.5, antialiased), which the reference uses and OpenCV has not."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC), np.uint8)
