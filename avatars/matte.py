"""Where the person is in a picture (MediaPipe's selfie segmentation), and the background behind them blurred."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import F32, U8

_SIDE = 256  # input of the model
_NARROW, _WIDEN = 0.02, 0.34  # of the way from a square to the whole width, a frame
_SHRINK = 4  # the background is blurred at a quarter of the size
_BLUR = 1 / 55  # sigma of the blur over the picture's shorter side


class Matting:
    """Person mattes of I420 frames. Not thread-safe.

    The model wants a picture about as wide as high: squeezed from 16:9, it takes plants for people, now and then (0.63
    of a region that holds none, against 0.02 in a square cut around the person). So a wide frame is cut to a square
    that follows the person, and is widened at once where they reach its edge.
    """

    def __init__(self, model: Path) -> None:
        cv2.setNumThreads(1)
        self._net = cv2.dnn.readNetFromTFLite(str(model), cv2.dnn.ENGINE_CLASSIC)
        self._middle: float | None = None  # of the person, 0..1 across
        self._spread = 0.0  # how much wider than a square the cut is, 0..1 of the way to the whole width

    def __call__(self, i420: U8) -> F32:
        """(256, about 256 * w / h) float32, 0 background .. 1 person, of a frame (h * 3 / 2, w)."""
        height, width = i420.shape[0] * 2 // 3, i420.shape[1]
        if width <= 1.1 * height:
            return self._run(i420, 0, width)
        if self._middle is None:
            self._middle = _centre(self._run(i420, 0, width))
        self._spread = max(0.0, self._spread - _NARROW)
        while True:
            wide = min(width, round(height + self._spread * (width - height))) // 4 * 4
            left = round(min(max(self._middle * width - wide / 2, 0), width - wide)) // 4 * 4
            matte = self._run(i420, left, left + wide)
            cut = (left > 0 and _busy(matte[:, :4])) or (left + wide < width and _busy(matte[:, -4:]))
            if not cut or self._spread >= 1.0:
                break
            self._spread = min(1.0, self._spread + _WIDEN)
        whole = np.zeros((_SIDE, round(_SIDE * width / height)), np.float32)
        scale = whole.shape[1] / width
        start, end = round(left * scale), round((left + wide) * scale)
        whole[:, start:end] = cv2.resize(matte, (end - start, _SIDE), interpolation=cv2.INTER_LINEAR)
        self._middle = 0.8 * self._middle + 0.2 * _centre(whole)
        return whole

    def _run(self, i420: U8, left: int, right: int) -> F32:
        """(256, 256): the matte of the columns left..right (multiples of 4)."""
        height, width = i420.shape[0] * 2 // 3, i420.shape[1]
        chroma = i420[height:].reshape(2, height // 2, width // 2)[:, :, left // 2 : right // 2]
        parts = [
            cv2.resize(p, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for p in (i420[:height, left:right], *chroma)
        ]
        # OpenCV's YUV order is Y, U, V; full range against limited makes no difference to the model.
        rgb = cv2.cvtColor(cv2.merge(parts), cv2.COLOR_YUV2RGB)
        self._net.setInput(cv2.dnn.blobFromImage(rgb, 1 / 255))
        return np.asarray(self._net.forward().reshape(_SIDE, _SIDE), np.float32)


def _centre(matte: F32) -> float:
    """Where across (0..1) most of the person is; the middle if nobody is there."""
    columns = np.where(matte > 0.5, matte, 0).sum(0)
    return (
        float((columns * np.arange(len(columns))).sum() / columns.sum() / len(columns)) if columns.sum() > 50 else 0.5
    )


def _busy(columns: F32) -> bool:
    return bool((columns > 0.5).mean() > 0.08)


def blur_background(frames: Iterable[tuple[float, U8]], matting: Matting) -> Iterator[tuple[float, U8]]:
    """The frames with their background blurred; each matte is smoothed with its two neighbours.

    About 30 ms of CPU a 720p frame, half of it in a thread of its own, which segments the frames to come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="matting") as ahead:
        queue: deque[tuple[float, U8, Future[F32]]] = deque()
        before: F32 | None = None

        def first() -> tuple[float, U8]:
            nonlocal before
            progress, frame, future = queue.popleft()
            now = future.result()
            after = queue[0][2].result() if queue else now
            smooth = 0.5 * now + 0.25 * (after + (now if before is None else before))
            before = now
            return progress, blurred(frame, smooth)

        for progress, frame in frames:
            queue.append((progress, frame, ahead.submit(matting, frame)))
            if len(queue) > 2:
                yield first()
        while queue:
            yield first()


def blurred(i420: U8, matte: F32) -> U8:
    """One frame, blurred where the matte (any size) says background.

    The blur leaves the person out (normalised convolution: blur(b * picture) / blur(b), b = background), or their
    colours would shine around them.
    """
    height, width = i420.shape[0] * 2 // 3, i420.shape[1]
    soft = cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)
    soft = np.clip((soft - 0.25) / 0.6, 0.0, 1.0)
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
