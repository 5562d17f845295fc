"""What a kill left of a film: cut to what is whole, and measured. All of it blocks for file work."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import av
import structlog

log = structlog.get_logger(__name__)


def mend(path: Path) -> float:
    """Cut an MP4 to its last whole fragment (a WebM needs no cut); gives the film's seconds, 0 where nothing is in it.

    Raises OSError.
    """
    if path.suffix == ".mp4":
        with path.open("r+b") as file:
            whole = whole_bytes(file)
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)
                os.fsync(file.fileno())
    try:
        return seconds_of(path)
    except (av.FFmpegError, ValueError) as error:
        log.warning("recording_unreadable", film=path.name, error=str(error))
        return 0.0


def whole_bytes(file: BinaryIO) -> int:
    """How far an MP4 goes in whole boxes, a fragment's header (moof) counting only with its data (mdat)."""
    end = file.seek(0, os.SEEK_END)
    whole = at = 0
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack(">Q", file.read(8))
        if size < 8 or at + size > end:
            break
        at += size
        if kind != b"moof":
            whole = at
    return whole


def seconds_of(path: Path) -> float:
    """The length of a film, from the times of its packets; nothing is decoded. Raises av.FFmpegError."""
    if not path.stat().st_size:
        return 0.0
    end = 0.0
    with av.open(str(path)) as film:
        for packet in film.demux():
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return round(end, 3)
