"""A small video of a face, made on the spot."""

from __future__ import annotations

import io
from fractions import Fraction

import av

from server.sample import PICTURE


def face_clip(seconds: float = 1.2) -> bytes:
    """The sample tutor's picture, moving a little."""
    out = io.BytesIO()
    with av.open(str(PICTURE)) as source:
        picture = next(source.decode(video=0)).reformat(648, 368, "rgb24").to_ndarray()
    with av.open(out, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for count in range(round(seconds * 25)):
            shift = count % 8
            frame = av.VideoFrame.from_ndarray(picture[shift : shift + 360, shift : shift + 640].copy(), "rgb24")
            frame.pts, frame.time_base = count, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return out.getvalue()
