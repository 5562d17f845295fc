"""A film in a file: MP4 (H.264) or WebM (VP8) with Opus, in fragments that play whatever happens afterwards."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from avatars.avatar import FPS
from pipeline import audio_encoder, video_encoder
from pipeline.audio_encoder import PACKET_SAMPLES
from pipeline.media import SAMPLE_RATE
from pipeline.outputs.arranger import Arranger
from pipeline.outputs.sink import Mark
from pipeline.outputs.timeline import PICTURE

FRAGMENT_SECONDS = 2.0
"""What is lost at most when the process is killed; also how often it is written through to the disk."""

LAST_SYNC_SECONDS = 3.0
"""How long a film's end waits for the disk; it is written through in any case, perhaps a little later."""

FORMATS = {"h264": "mp4", "vp8": "webm"}
"""The container, and ending of the file's name, for a session's codec. MP4 cannot hold VP8."""

_OPTIONS = {
    # While it is written: fragments, each whole. At its end it becomes a plain MP4, which every player can seek in.
    "mp4": {"movflags": "hybrid_fragmented", "frag_duration": str(round(FRAGMENT_SECONDS * 1_000_000))},
    "webm": {"cluster_time_limit": str(round(FRAGMENT_SECONDS * 1000))},
}


class FilmFile:
    """A Sink. The file must exist (its owner holds a lock on it) and is written from its beginning.

    Nothing is in it before the first keyframe. All methods may raise av.FFmpegError, which is an OSError when the disk
    is full or fails.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self._file = _File(path, codec)
        self._arranger = Arranger(self._file)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self._arranger.seconds

    def packet(self, packet: Packet[Stream], *, sound: bool) -> None:
        self._arranger.packet(packet, sound=sound)

    def mark(self, mark: Mark) -> None:
        self._arranger.mark(mark)

    def close(self) -> None:
        """Write its end."""
        try:
            if not self._file.failed:
                self._arranger.flush()
        finally:
            self._file.close()


class _File:
    """The container on the disk. failed: something could not be written."""

    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._codec = codec
        self._container: OutputContainer | None = None
        self._video: Any = None
        self._audio: Any = None
        self._disk = _Disk(path)
        self._synced = 0
        self.failed = False

    def begin(self, keyframe: bytes) -> None:
        kind = FORMATS[self._codec]
        options = {**_OPTIONS[kind], "flush_packets": "1"}
        self._container = av.open(str(self._path), "w", format=kind, options=options)
        width, height = size_of(self._codec, keyframe)
        self._video = self._container.add_mux_stream(
            self._codec, rate=FPS, width=width, height=height, time_base=video_encoder.TIME_BASE
        )
        # Of an encoder that encodes nothing: it gives Opus's header.
        self._audio = self._container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        self._audio.time_base = audio_encoder.TIME_BASE

    def picture(self, data: bytes, at: int, *, key: bool) -> None:
        packet = stamped(data, at, PICTURE, video_encoder.TIME_BASE, self._video)
        packet.is_keyframe = key
        self._mux(packet)
        if at - self._synced >= FRAGMENT_SECONDS * video_encoder.CLOCK:
            self._synced = at
            self._disk.sync()

    def sound(self, data: bytes, at: int) -> None:
        self._mux(stamped(data, at, PACKET_SAMPLES, audio_encoder.TIME_BASE, self._audio))

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()
            self._disk.sync()
            self._disk.wait(LAST_SYNC_SECONDS)

    def _mux(self, packet: Packet[Stream]) -> None:
        assert self._container is not None
        try:
            self._container.mux(packet)
        except BaseException:
            self.failed = True
            raise


class _Disk:
    """Writes a file through to the disk, which may take seconds where others use it, beside the writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def sync(self) -> None:
        """Begin, unless the last time is not over yet. Raises the OSError of the last time."""
        if self._error is not None:
            raise self._error
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="film-sync", daemon=True)
            self._thread.start()

    def wait(self, limit: float) -> None:
        """For the end of the last time, at most `limit` seconds."""
        if self._thread is not None:
            self._thread.join(limit)

    def _run(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._error = error


def size_of(codec: str, keyframe: bytes) -> tuple[int, int]:
    """Width and height of a picture."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    picture = [*decoder.decode(av.Packet(keyframe)), *decoder.decode(None)][0]
    return picture.width, picture.height


def stamped(data: bytes, at: int, duration: int, time_base: Fraction, stream: Any) -> Packet[Stream]:
    """A packet for a container."""
    packet: Packet[Stream] = av.Packet(data)
    packet.pts = packet.dts = at
    packet.duration = duration
    packet.time_base = time_base
    packet.stream = stream
    return packet
