"""The master on disk: frames.mp4 (25 fps, all-intra H.264) is written and read here, and frames.i420 is made from it.

The pictures of an avatar ARE the decoded master: landmarks, engines' data and frames.i420 are all taken from decoding
frames.mp4 (an exact, repeatable operation in H.264), never from what went into the encoder. So the cache may be thrown
away and made again, on another machine too, without anything losing its fit. Colours: BT.709, limited range.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from avatars.avatar import FPS, U8

MASTER = "frames.mp4"
CACHE = "frames.i420"
_BT709, _LIMITED = 1, 1


class MasterWriter:
    """Writes I420 frames of (height * 3 / 2, width) uint8. A context manager; closing ends the file.

    CRF 14 and preset superfast: 49.8 dB luma on the 720p clip at 1.6 MB a second and 5 ms a frame; preset medium takes
    16 ms for 0.4 dB more.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "superfast", "crf": "14", "g": "1", "bf": "0"}
        context = stream.codec_context
        context.thread_count = 2
        context.color_primaries, context.color_trc = _BT709, _BT709
        context.colorspace, context.color_range = _BT709, _LIMITED
        self._stream = stream
        self.count = 0

    def write(self, i420: U8) -> None:
        frame = av.VideoFrame.from_ndarray(i420, format="yuv420p")
        frame.pts, frame.time_base = self.count, Fraction(1, FPS)
        frame.colorspace, frame.color_range = _BT709, _LIMITED
        self.count += 1
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> MasterWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def read(path: Path, threads: int = 2) -> Iterator[U8]:
    """The frames of a master, each a fresh (height * 3 / 2, width) uint8 array."""
    with av.open(str(path), format="mov") as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        for frame in container.decode(stream):
            yield np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)


def make_cache(folder: Path, width: int, height: int, count: int) -> Path:
    """Make frames.i420 from frames.mp4 in an avatar's folder; whole or not at all.

    Raises OSError (a full disk too), ValueError when the master does not hold what the record says.
    """
    part = folder / f"{CACHE}.{os.getpid()}.part"
    try:
        # Written, not mapped: a full disk is an error of write(), but a SIGBUS in a map.
        with part.open("wb") as file:
            found = 0
            for frame in read(folder / MASTER):
                if frame.shape != (height * 3 // 2, width):
                    raise ValueError(f"the master's frames are {frame.shape}, not those of {width}x{height}")
                file.write(frame.data)
                found += 1
            if found != count:
                raise ValueError(f"the master has {found} frames, not {count}")
        os.replace(part, folder / CACHE)
    finally:
        part.unlink(missing_ok=True)
    return folder / CACHE


def cache_is_good(folder: Path, width: int, height: int, count: int) -> bool:
    """Whether frames.i420 is there, of the right length and not older than its master."""
    try:
        cache, master = (folder / CACHE).stat(), (folder / MASTER).stat()
    except OSError:
        return False
    return cache.st_size == count * width * height * 3 // 2 and cache.st_mtime_ns >= master.st_mtime_ns


def map_cache(folder: Path, width: int, height: int, count: int) -> U8:
    """frames.i420 as (count, width * height * 3 / 2) uint8, read-only, mapped and so shared by all processes."""
    mapped = np.memmap(folder / CACHE, dtype=np.uint8, mode="r", shape=(count, width * height * 3 // 2))
    return np.asarray(mapped)  # the plain array type: slicing a memmap costs several times as much


class CacheFile:
    """frames.i420, open as long as this object lives: `frames` maps it (see map_cache), the others read out of it.

    What is read is no part of the process's own memory afterwards, what is mapped is (324 MB of the 9.4 s 720p clip),
    and a file that was cut short or a failing disk is an OSError here, where a map ends the process (SIGBUS).
    Thread-safe.
    """

    def __init__(self, folder: Path, width: int, height: int, count: int) -> None:
        """Raises OSError, ValueError when the file is too short."""
        self.frames = map_cache(folder, width, height, count)
        self._width, self._height = width, height
        self._handle = os.open(folder / CACHE, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)

    def read(self, frame: int, into: Sequence[U8]) -> None:
        """Copy a frame's planes into Y, U and V, each writable and contiguous. Raises OSError."""
        self._read(into, frame * self._width * self._height * 3 // 2)

    def rows(self, frame: int, top: int, bottom: int) -> tuple[U8, U8, U8]:
        """Rows [top, bottom), even numbers, of Y, and the half as many of U and V. Raises OSError."""
        width, luma = self._width, self._width * self._height
        at, half = frame * luma * 3 // 2, width // 2
        y = np.empty((bottom - top, width), np.uint8)
        u, v = np.empty((2, (bottom - top) // 2, half), np.uint8)
        self._read([y], at + top * width)
        self._read([u], at + luma + top // 2 * half)
        self._read([v], at + luma + luma // 4 + top // 2 * half)
        return y, u, v

    def _read(self, into: Sequence[U8], offset: int) -> None:
        if os.preadv(self._handle, [part.data for part in into], offset) != sum(part.nbytes for part in into):
            raise OSError(errno.EIO, "frames.i420 has become shorter")
