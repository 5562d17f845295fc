"""A session's own Opus encoder: 20 ms of mono at 48 kHz, full band, one packet each."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.packet import Packet
from av.stream import Stream

from pipeline.media import SAMPLE_RATE, Pcm

PACKET_SAMPLES = 960
TIME_BASE = Fraction(1, SAMPLE_RATE)
BITRATE = 64_000


class AudioEncoder:
    """Not thread-safe. 0.1 ms a packet, silence (19 bytes) as well: less than a hop to another thread and back."""

    def __init__(self, bitrate: int = BITRATE) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, av.AudioCodecContext)
        codec.sample_rate = SAMPLE_RATE
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = bitrate
        codec.time_base = TIME_BASE
        codec.options = {
            # "voip" filters the low band, takes twice the time, and four times the bytes for silence.
            "application": "audio",
            "frame_duration": "20",
            "compression_level": "5",  # of 10: as close to the original (docs/decisions.md) in half the time
        }
        codec.open()
        self._codec = codec
        self._samples = 0
        self._frame = av.AudioFrame(format="s16", layout="mono", samples=PACKET_SAMPLES)
        self._frame.sample_rate = SAMPLE_RATE
        self._frame.time_base = TIME_BASE
        # The frame's own memory, written anew each time: libopus has read it when encode returns.
        self._pcm = np.frombuffer(memoryview(self._frame.planes[0]), np.int16)[:PACKET_SAMPLES]

    def encode(self, pcm: Pcm | None) -> list[Packet[Stream]]:
        """960 samples; None: silence. The packets' times are the caller's to set."""
        self._pcm[:] = 0 if pcm is None else pcm
        self._frame.pts = self._samples
        self._samples += PACKET_SAMPLES
        return list(self._codec.encode(self._frame))
