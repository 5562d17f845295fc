"""A session's own video encoder: H.264 (x264) or VP8 (libvpx), one packet a picture, no picture held back."""

from __future__ import annotations

from fractions import Fraction

import av
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from avatars.avatar import FPS
from pipeline.media import VideoSettings

CLOCK = 90_000
TIME_BASE = Fraction(1, CLOCK)

_BT709 = 1  # ITU-T H.273, tables 2 and 3
_BUFFER_SECONDS = 0.5  # of the ceiling: how much a burst (a keyframe) may run ahead of the rate
_H264 = {
    "tune": "zerolatency",
    "forced-idr": "1",
    "sc_threshold": "0",  # no keyframe of its own accord where much moves: they cost most when the network has least
    # The finest quantiser. A face at rest is then sent at constant quality far below the bitrate (0.77 instead of
    # 2.5 Mbit/s at 720p), and unlike CRF with a cap the bitrate can still be changed; see docs/decisions.md.
    "qmin": "22",
}
_VP8 = {
    "deadline": "realtime",
    "cpu-used": "12",  # 4.3 ms a 720p picture against 8.3 with 8, for 0.2 dB
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "error-resilient": "0",
    "noise-sensitivity": "0",
    "static-thresh": "100",
    "qmin": "14",
}
_VP8_STEP = 0.25  # libvpx takes a new bitrate only by a new encoder, thus a keyframe: worth it from this change on


class VideoEncoder:
    """Not thread-safe. Packets are H.264 Annex B, constrained baseline, parameter sets with each keyframe; or VP8."""

    def __init__(self, settings: VideoSettings, width: int, height: int) -> None:
        self._settings = settings
        self._size = (width, height)
        self._pictures = 0
        self.bitrate = min(settings.bitrate, settings.max_bitrate)
        self._codec = self._open()

    def encode(self, frame: av.VideoFrame, key: bool) -> list[Packet[Stream]]:
        """One picture. key: as a keyframe. The packets' times are the caller's to set."""
        frame.pts = self._pictures * CLOCK // FPS  # evenly, for the rate control
        frame.time_base = TIME_BASE
        frame.pict_type = PictureType.I if key else PictureType.NONE  # a frame that is used again keeps its type
        self._pictures += 1
        return list(self._codec.encode(frame))

    def set_bitrate(self, bitrate: int) -> None:
        """From the next picture on, bit/s. H.264: without a keyframe."""
        if bitrate == self.bitrate:
            return
        if self._settings.codec == "h264":
            self._codec.bit_rate = bitrate
        elif abs(bitrate - self.bitrate) >= _VP8_STEP * self.bitrate:
            self.bitrate = bitrate
            self._codec = self._open()
            return
        else:
            return
        self.bitrate = bitrate

    def _open(self) -> av.VideoCodecContext:
        settings = self._settings
        h264 = settings.codec == "h264"
        codec = av.CodecContext.create("libx264" if h264 else "libvpx", "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.framerate = Fraction(FPS)
        codec.time_base = TIME_BASE
        codec.gop_size = settings.gop
        codec.max_b_frames = 0
        codec.thread_count = 1
        # What an avatar's frames are. Without a word browsers guess, by size: reds then shift below 720p.
        codec.colorspace = Colorspace.ITU709
        codec.color_range = ColorRange.MPEG
        codec.color_primaries = codec.color_trc = _BT709
        if h264:
            codec.profile = "Baseline"
            # x264 takes a new bitrate later only if it was opened with a rate as high as its limit.
            ceiling = max(settings.max_bitrate, settings.bitrate)
            buffer = round(ceiling * _BUFFER_SECONDS)
            rates = {"preset": settings.preset, "maxrate": str(ceiling), "bufsize": str(buffer)}
            codec.options = {**_H264, **rates, **settings.extra}
            codec.bit_rate = ceiling
            codec.open()
            codec.bit_rate = self.bitrate
        else:
            rate = str(self.bitrate)
            buffer = round(self.bitrate * _BUFFER_SECONDS)
            codec.options = {**_VP8, "minrate": rate, "maxrate": rate, "bufsize": str(buffer), **settings.extra}
            codec.bit_rate = self.bitrate
            codec.open()
        return codec
