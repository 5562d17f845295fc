"""An avatar that is ready: its frames and its face, opened for sessions to share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

FPS = 25


@dataclass(frozen=True, slots=True)
class Faces:
    """What is known of the face in each of an avatar's `n` frames.

    landmarks: (n, 468, 3) float32, MediaPipe's mesh, smoothed in time; x and y in pixels of the frame, z in the same
        unit, negative towards the camera.
    box: (n, 4) float32, x0 y0 x1 y1 of the face in pixels.
    mouth: (n, 4) int32, x0 y0 x1 y1 (even numbers, inside the frame) of the region an engine may change.
    """

    landmarks: F32
    box: F32
    mouth: I32


class FrameReader(Protocol):
    """Reads frames from where they lie; avatars.master.CacheFile is the real one."""

    def read(self, frame: int, into: Sequence[U8]) -> None:
        """Copy a frame's planes into Y, U and V, each writable and contiguous. Raises OSError."""

    def rows(self, frame: int, top: int, bottom: int) -> tuple[U8, U8, U8]:
        """Rows [top, bottom), even numbers, of Y, and the half as many of U and V. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Avatar:
    """A ready avatar, opened. One instance serves every session on it.

    frames: (n, width * height * 3 // 2) uint8, memory-mapped, read-only; each row is one I420 frame
        (see `planes`). width and height are even.
    still: the source was a portrait picture, not a video.
    reader: reads what `frames` maps; None where there is no file.
    """

    id: str
    path: Path
    width: int
    height: int
    frames: U8
    faces: Faces
    still: bool = False
    reader: FrameReader | None = None

    @property
    def count(self) -> int:
        return int(self.frames.shape[0])

    def copy(self, frame: int, into: Sequence[U8]) -> None:
        """Copy a whole frame into Y, U and V, writable, of `planes`' shapes: contiguous ones are read from the file
        (0.16 ms at 720p), padded ones copied from its map. Raises OSError.
        """
        if self.reader is not None and all(plane.flags.c_contiguous for plane in into):
            self.reader.read(frame, into)
            return
        for target, source in zip(into, planes(self.frames[frame], self.width, self.height), strict=True):
            target[:] = source

    def rows(self, frame: int, top: int, bottom: int) -> tuple[U8, U8, U8]:
        """Rows [top, bottom), even numbers, of a frame's Y, and the half as many of U and V; read-only, read from the
        file if there is one. Raises OSError.
        """
        if self.reader is not None:
            return self.reader.rows(frame, top, bottom)
        y, u, v = planes(self.frames[frame], self.width, self.height)
        return y[top:bottom], u[top // 2 : bottom // 2], v[top // 2 : bottom // 2]


def planes(frame: U8, width: int, height: int) -> tuple[U8, U8, U8]:
    """Views of the Y (height, width), U and V (height/2, width/2) planes of one flat I420 frame."""
    luma = width * height
    chroma = luma // 4
    half = (height // 2, width // 2)
    return (
        frame[:luma].reshape(height, width),
        frame[luma : luma + chroma].reshape(half),
        frame[luma + chroma : luma + 2 * chroma].reshape(half),
    )


def pingpong(position: int, count: int) -> int:
    """Frame to show at a position of the endless idle movement: forward, then backward, no frame twice in a row."""
    if count == 1:
        return 0
    position %= 2 * (count - 1)
    return position if position < count else 2 * (count - 1) - position
