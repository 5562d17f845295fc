"""A video of any allowed kind -> I420 frames at 25 a second, upright, of the avatar's size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from avatars.avatar import FPS, U8
from avatars.errors import AvatarError
from avatars.record import SourceFacts
from avatars.sniff import Kind

CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
_DECODERS = {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}  # FFmpeg's name of a decoder -> of its codec
_HDR_TRANSFERS = (16, 18)  # ITU-T H.273: PQ, HLG
_UNSPECIFIED = 2  # H.273: matrix coefficients
_MAX_ERRORS = 25  # damaged pictures that are passed over
_SHORTFALL = 0.8  # a file that yields less of what it declares has lost its end


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is read and made. max_height: the shorter side of the result ("720p" of an upright clip is 720x1280), whose
    area is at most that of a 16:9 picture of this height. max_pixels: of the input, a picture; seconds of video."""

    max_height: int = 720
    max_seconds: float = 30.0
    min_seconds: float = 1.0
    max_pixels: int = 4096 * 4096
    max_side: int = 8192
    max_input_seconds: float = 3600.0


def fit(width: int, height: int, bounds: Bounds) -> tuple[int, int]:
    """The even size of the result for a picture of this (displayed) size; never larger than the input."""
    scale = min(
        1.0,
        bounds.max_height / min(width, height),
        math.sqrt(bounds.max_height**2 * 16 / 9 / (width * height)),
    )
    return max(2, int(width * scale + 1e-6) // 2 * 2), max(2, int(height * scale + 1e-6) // 2 * 2)


def check_pixels(width: int, height: int, bounds: Bounds) -> None:
    """Raises AvatarError("too_large") for a picture that would take too much to decode."""
    if width * height > bounds.max_pixels or max(width, height) > bounds.max_side:
        raise AvatarError("too_large", f"The picture is {width}x{height} pixels. Record at 1080p or less.")


class Source:
    """An upload, opened with the one demuxer its first bytes ask for. A context manager. Raises AvatarError."""

    def __init__(self, path: Path, kind: Kind, bounds: Bounds) -> None:
        assert kind.demuxer is not None
        self._bounds = bounds
        self._kind = kind
        self._bytes = path.stat().st_size
        try:
            # The whitelist keeps a container from opening anything but this file. Small probes: header facts suffice.
            options = {"protocol_whitelist": "file", "max_streams": "32"}
            self._container = av.open(str(path), format=kind.demuxer, options=options, metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:
            raise AvatarError("unreadable") from error
        try:
            self._choose()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _choose(self) -> None:
        streams = [s for s in self._container.streams.video if not int(s.disposition) & _ATTACHED]
        if not streams:
            raise AvatarError("unsupported")
        self._stream = stream = streams[0]
        context = stream.codec_context
        codec = context.codec.name
        self._codec = _DECODERS.get(codec, codec)
        if self._codec not in CODECS:
            raise AvatarError("unsupported", f"Videos in {self._codec} are not supported. Use H.264, HEVC, VP9 or AV1.")
        if context.width and context.height:
            check_pixels(context.width, context.height, self._bounds)
        duration = 0.0
        if stream.duration and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        elif self._container.duration:
            duration = self._container.duration / 1_000_000
        self.duration = duration
        if duration > self._bounds.max_input_seconds:
            raise AvatarError("too_long")
        stream.thread_type = "AUTO"
        context.thread_count = 2
        context.options = {"max_pixels": str(self._bounds.max_pixels)}

    def facts(self, first: av.VideoFrame) -> SourceFacts:
        """What the source is, once its first picture is decoded."""
        width, height = _displayed(first, self._stream)
        return SourceFacts(
            container=self._kind.name,
            codec=self._codec,
            width=width,
            height=height,
            fps=round(float(self._stream.average_rate or 0), 3),
            duration=round(self.duration, 3),
            rotation=int(first.rotation) % 360,
            bits=max(c.bits for c in first.format.components),
            hdr=first.color_trc in _HDR_TRANSFERS,
            bytes=self._bytes,
        )

    def first(self) -> av.VideoFrame:
        """The first picture that can be decoded. Raises AvatarError."""
        for frame in self.pictures():
            return frame
        raise AvatarError("unreadable")

    def pictures(self) -> Iterator[av.VideoFrame]:
        """The decoded pictures in display order; a few damaged ones are passed over."""
        errors = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except (av.FFmpegError, ValueError) as error:
                    errors += 1
                    if errors > _MAX_ERRORS:
                        raise AvatarError("unreadable") from error
                    continue
                for frame in frames:
                    assert isinstance(frame, av.VideoFrame)
                    check_pixels(frame.width, frame.height, self._bounds)
                    yield frame
        except av.FFmpegError as error:
            # The demuxer gave up: what came before may be enough, `frames` decides by the time it covers.
            if isinstance(error, MemoryError):
                raise AvatarError("too_much_memory") from error

    def frames(self) -> Iterator[tuple[float, U8]]:
        """(progress 0..1, I420 frame (h * 3 / 2, w)) at 25 a second, from the picture that is nearest in time.

        The size is that of the first picture, fitted into the bounds; later pictures of another size are scaled to it.
        Ends at max_seconds. Raises AvatarError: too_short, truncated, unreadable, too_large.
        """
        bounds = self._bounds
        limit = round(bounds.max_seconds * FPS)
        expected = min(self.duration or bounds.max_seconds, bounds.max_seconds)
        scaler: _Scaler | None = None
        step = 1 / float(self._stream.average_rate or FPS)
        start: float | None = None
        made = 0
        last: U8 | None = None
        last_at = 0.0
        pending: av.VideoFrame | None = None
        for frame in self.pictures():
            at = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else None
            if start is None:
                start = at if at is not None else 0.0
            now = at - start if at is not None else last_at + step
            if scaler is None:
                scaler = _Scaler(fit(*_displayed(frame, self._stream), bounds), self._stream)
            if pending is not None:
                if now < last_at:  # times that run backwards: the picture is out of place
                    continue
                # The pending picture is the nearest one up to the middle between it and this one.
                end = min(limit, math.ceil((last_at + now) / 2 * FPS - 1e-6))
                if made < end:
                    last = scaler(pending)
                    while made < end:
                        made += 1
                        yield made / FPS / expected, last
                if made >= limit:
                    return
            pending, last_at = frame, now
        if pending is None or scaler is None:
            raise AvatarError("unreadable")
        end = min(limit, max(made, math.ceil((last_at + min(step, 1.0)) * FPS - 1e-6)))
        if made < end:
            last = scaler(pending)
            while made < end:
                made += 1
                yield made / FPS / expected, last
        seconds = made / FPS
        if self.duration and seconds < _SHORTFALL * expected - 0.5:
            raise AvatarError("truncated")
        if seconds < bounds.min_seconds:
            raise AvatarError("too_short")


_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover picture of a sound file


def _aspect(stream: Any) -> Fraction:
    """Width over height of one pixel, if it is a believable one."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    return ratio if Fraction(1, 4) <= ratio <= 4 else Fraction(1)


def _displayed(frame: av.VideoFrame, stream: Any) -> tuple[int, int]:
    """Size of a picture as it is meant to be seen: square pixels, upright."""
    ratio = _aspect(stream)
    width, height = frame.width, frame.height
    # Shrinks, never stretches: no pixel is invented.
    if ratio > 1:
        height = max(2, round(height / ratio))
    elif ratio < 1:
        width = max(2, round(width * ratio))
    return (height, width) if int(frame.rotation) % 180 else (width, height)


class _Scaler:
    """Turns upright, scales and converts pictures through FFmpeg's filters; made anew when the pictures change."""

    def __init__(self, size: tuple[int, int], stream: Any) -> None:
        self._size = size
        self._stream = stream
        self._key: tuple[Any, ...] = ()
        self._graph: Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> U8:
        turn = int(frame.rotation) % 360
        key = (frame.width, frame.height, frame.format.name, turn, frame.colorspace, frame.color_range, frame.color_trc)
        if self._graph is None or key != self._key:
            self._graph, self._key = self._build(frame, turn), key
        self._graph.push(frame)
        scaled = self._graph.pull()
        assert isinstance(scaled, av.VideoFrame)
        return np.asarray(scaled.to_ndarray(format="yuv420p"), np.uint8)

    def _build(self, frame: av.VideoFrame, turn: int) -> Graph:
        width, height = self._size
        graph = Graph()
        base = frame.time_base or Fraction(1, FPS)
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={base.numerator}/"
            f"{base.denominator}:pixel_aspect=1/1:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        )
        chain = [graph.add("buffer", source)]
        # `rotation` is how far to turn anticlockwise (FFmpeg's display matrix).
        if turn == 90:
            chain.append(graph.add("transpose", "cclock"))
        elif turn == 270:
            chain.append(graph.add("transpose", "clock"))
        elif turn == 180:
            chain += [graph.add("hflip"), graph.add("vflip")]
        scale = f"w={width}:h={height}:flags=bicubic+accurate_rnd:out_color_matrix=bt709:out_range=tv"
        if int(frame.colorspace) == _UNSPECIFIED:  # players take HD for BT.709 and the rest for BT.601; so do we
            scale += ":in_color_matrix=" + ("bt709" if max(frame.width, frame.height) >= 1280 else "bt601")
        if frame.color_trc in _HDR_TRANSFERS:
            scale += ":out_primaries=bt709:out_transfer=bt709"
        chain += [graph.add("scale", scale), graph.add("format", "yuv420p"), graph.add("buffersink")]
        for one, other in itertools.pairwise(chain):
            one.link_to(other)
        graph.configure()
        return graph
