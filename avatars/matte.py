"""Where the person is in a picture (MediaPipe's selfie segmentation), and the background behind them blurred."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import F32, U8

_SIDE = 256  # input of the model
_SHRINK = 4  # the background is blurred at a quarter of the size
_BLUR = 1 / 55  # sigma of the blur over the picture's shorter side


class Matting:
    """Person mattes of I420 frames. Not thread-safe."""

    def __init__(self, model: Path) -> None:
        cv2.setNumThreads(1)
        self._net = cv2.dnn.readNetFromTFLite(str(model), cv2.dnn.ENGINE_CLASSIC)

    def __call__(self, i420: U8) -> F32:
        """(256, 256) float32, 0 background .. 1 person, of a frame (h * 3 / 2, w), squeezed to a square."""
        height, width = i420.shape[0] * 2 // 3, i420.shape[1]
        chroma = i420[height:].reshape(2, height // 2, width // 2)
        parts = [cv2.resize(p, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for p in (i420[:height], *chroma)]
        # OpenCV's YUV order is Y, U, V; full range against limited makes no difference to the model.
        rgb = cv2.cvtColor(cv2.merge(parts), cv2.COLOR_YUV2RGB)
        self._net.setInput(cv2.dnn.blobFromImage(rgb, 1 / 255))
        return np.asarray(self._net.forward().reshape(_SIDE, _SIDE), np.float32)


def blur_background(frames: Iterable[tuple[float, U8]], matting: Matting) -> Iterator[tuple[float, U8]]:
    """The frames with their background blurred; mattes are smoothed over three frames, so one frame is held back.

    About 14 ms a 720p frame.
    """
    before: F32 | None = None
    held: tuple[float, U8, F32] | None = None
    for progress, frame in frames:
        matte = matting(frame)
        if held is not None:
            smooth = 0.5 * held[2] + 0.25 * (matte + (before if before is not None else held[2]))
            yield held[0], blurred(held[1], smooth)
            before = held[2]
        held = (progress, frame, matte)
    if held is not None:
        smooth = 0.5 * held[2] + 0.5 * (before if before is not None else held[2])
        yield held[0], blurred(held[1], smooth)


def blurred(i420: U8, matte: F32) -> U8:
    """One frame, blurred where the matte (any size) says background.

    The blur leaves the person out (normalised convolution: blur(b * picture) / blur(b), b = background), or their
    colours would shine around them.
    """
    height, width = i420.shape[0] * 2 // 3, i420.shape[1]
    soft = cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)
    soft = np.clip((soft - 0.15) / 0.7, 0.0, 1.0)
    chroma = i420[height:].reshape(2, height // 2, width // 2)
    half = cv2.resize(soft, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    small = (max(2, width // _SHRINK), max(2, height // _SHRINK))
    sigma = _BLUR * min(width, height) / _SHRINK
    behind = 1.0 - cv2.resize(soft, small, interpolation=cv2.INTER_AREA)
    behind = np.maximum(behind * behind, 1e-3)  # what is half the person counts for less
    weight = cv2.GaussianBlur(behind, (0, 0), sigma)
    out = np.empty_like(i420)
    targets = (out[:height], *out[height:].reshape(2, height // 2, width // 2))
    for plane, mask, target in zip((i420[:height], *chroma), (soft, half, half), targets, strict=True):
        low = cv2.resize(plane, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        low = cv2.GaussianBlur(low * behind, (0, 0), sigma) / weight
        back = cv2.resize(low, (plane.shape[1], plane.shape[0]), interpolation=cv2.INTER_LINEAR)
        target[:] = cv2.blendLinear(plane, np.clip(back, 0, 255).round().astype(np.uint8), mask, 1.0 - mask)
    return out
