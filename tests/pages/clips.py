"""Clips for the page tests, drawn and encoded on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import av

from tests.pages.fake_server import draw


def webm(frames: int = 25) -> bytes:
    """A short VP8 clip of the drawn face."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 480, 270, "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number / 12, 0.0), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def beginning(path: Path, seconds: float) -> bytes:
    """The first seconds of a video file, without its sound; not encoded again."""
    buffer = io.BytesIO()
    with av.open(str(path)) as source, av.open(buffer, "w", format="mp4") as container:
        wanted = source.streams.video[0]
        stream = container.add_stream_from_template(wanted)
        for packet in source.demux(wanted):
            if packet.dts is None or float(packet.dts * packet.time_base) > seconds:
                break
            packet.stream = stream
            container.mux(packet)
    return buffer.getvalue()
