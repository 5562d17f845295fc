"""A film in a file: MP4 (H.264) or WebM (VP8) with Opus, in fragments that play whatever happens afterwards."""

from __future__ import annotations

import os
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
from pipeline.outputs.sink import SILENCE, Mark
from pipeline.outputs.timeline import PICTURE, Timeline

FRAGMENT_SECONDS = 2.0
"""What is lost at most when the process is killed; also how often it is written through to the disk."""

FORMATS = {"h264": "mp4", "vp8": "webm"}
"""The container, and ending of the file's name, for a session's codec. MP4 cannot hold VP8."""

_OPTIONS = {
    # While it is written: fragments, each whole. At its end it becomes a plain MP4, which every player can seek in.
    "mp4": {"movflags": "hybrid_fragmented", "frag_duration": str(round(FRAGMENT_SECONDS * 1_000_000))},
    "webm": {"cluster_time_limit": str(round(FRAGMENT_SECONDS * 1000))},
}


class FilmFile:
    """A Sink. The file must exist (its owner holds a lock on it) and is written from its beginning.

    Nothing is in it before the first keyframe.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._codec = codec
        self._timeline = Timeline()
        self._container: OutputContainer | None = None
        self._video: Any = None
        self._audio: Any = None
        self._synced = 0.0

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self._timeline.seconds

    def packet(self, packet: Packet[Stream], *, sound: bool) -> None:
        """Raises av.FFmpegError (also an OSError), such as when the disk is full."""
        assert packet.pts is not None
        if sound:
            place = self._timeline.sound(packet.pts)
            if place is not None:
                for at in place.silence:
                    self._write_sound(SILENCE, at)
                self._write_sound(bytes(packet), place.at)
            return
        laid = self._timeline.picture(packet.pts, key=packet.is_keyframe)
        if laid is None:
            return
        if self._container is None:
            self._open(bytes(packet))
        copy = _copy(bytes(packet), laid, PICTURE, video_encoder.TIME_BASE, self._video)
        copy.is_keyframe = packet.is_keyframe
        self._mux(copy)
        if self._timeline.seconds - self._synced >= FRAGMENT_SECONDS:
            self._synced = self._timeline.seconds
            self._sync()

    def mark(self, mark: Mark) -> None:
        if mark == "cut":
            self._timeline.cut()
        else:
            self._timeline.lost()

    def close(self) -> None:
        """Write its end. Raises as `packet`."""
        container, self._container = self._container, None
        if container is not None:
            container.close()
            self._sync()

    def _open(self, keyframe: bytes) -> None:
        kind = FORMATS[self._codec]
        options = {**_OPTIONS[kind], "flush_packets": "1"}
        container = av.open(str(self._path), "w", format=kind, options=options)
        width, height = size_of(self._codec, keyframe)
        self._video = container.add_mux_stream(
            self._codec, rate=FPS, width=width, height=height, time_base=video_encoder.TIME_BASE
        )
        # Of an encoder that encodes nothing: it gives Opus's header.
        self._audio = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        self._audio.time_base = audio_encoder.TIME_BASE
        self._container = container

    def _write_sound(self, data: bytes, at: int) -> None:
        self._mux(_copy(data, at, PACKET_SAMPLES, audio_encoder.TIME_BASE, self._audio))

    def _mux(self, packet: Packet[Stream]) -> None:
        assert self._container is not None
        self._container.mux(packet)

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def size_of(codec: str, keyframe: bytes) -> tuple[int, int]:
    """Width and height of a picture."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    picture = [*decoder.decode(av.Packet(keyframe)), *decoder.decode(None)][0]
    return picture.width, picture.height


def _copy(data: bytes, at: int, duration: int, time_base: Fraction, stream: Any) -> Packet[Stream]:
    packet: Packet[Stream] = av.Packet(data)
    packet.pts = packet.dts = at
    packet.duration = duration
    packet.time_base = time_base
    packet.stream = stream
    return packet
