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

_SILENCE = np.zeros((1, PACKET_SAMPLES), np.int16)


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
        # "voip" filters the low band, takes twice the time, and four times the bytes for silence.
        codec.options = {"application": "audio", "frame_duration": "20"}
        codec.open()
        self._codec = codec
        self._samples = 0

    def encode(self, pcm: Pcm | None) -> list[Packet[Stream]]:
        """960 samples; None: silence. The packets' times are the caller's to set."""
        samples = _SILENCE if pcm is None else pcm.reshape(1, PACKET_SAMPLES)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._samples
        frame.time_base = TIME_BASE
        self._samples += PACKET_SAMPLES
        return list(self._codec.encode(frame))
