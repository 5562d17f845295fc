"""Sends a session by RTMP: `python -m pipeline.outputs.rtmp_child`, ended by the end of its standard input.

A process of its own, as FFmpeg's network calls hold Python's lock while they connect. In: a line of JSON (`Order`),
then rtmp.HEADER and the bytes that it announces, again and again. Out: "connected" in a line; the `code` and `message`
of what went wrong as JSON, and the end. Secrets come by standard input only: all can see arguments.
"""

from __future__ import annotations

import errno
import io
import json
import ssl
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import OutputContainer

from pipeline import audio_encoder, video_encoder
from pipeline.audio_encoder import PACKET_SAMPLES
from pipeline.media import SAMPLE_RATE
from pipeline.outputs.arranger import Arranger
from pipeline.outputs.film import stamped
from pipeline.outputs.rtmp import HEADER, MARKS, PICTURE_KIND, SOUND_KIND
from pipeline.outputs.timeline import PICTURE

AUDIO_BITRATE = 96_000
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: FLV wants AAC's header on its own
_BIGGEST = 16 << 20  # bytes of a packet


@dataclass(frozen=True, slots=True)
class Order:
    """url: rtmp:// or rtmps://. seconds: for each step of connecting, and for each write. certificates: a file of those
    that are trusted; "": the system's.
    """

    url: str
    seconds: float
    certificates: str = ""


class Flv:
    """A Container of pipeline.outputs.arranger: H.264 as it is, and AAC, as RTMP servers that know Opus are rare.

    fresh: it has just been connected, and what is read next is old.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._container: OutputContainer | None = None
        self._video: Any = None
        self._audio: Any = None
        opus = av.CodecContext.create("opus", "r")
        assert isinstance(opus, av.AudioCodecContext)
        self._opus = opus
        self._opus.sample_rate = SAMPLE_RATE
        self.fresh = False

    def begin(self, keyframe: bytes) -> None:
        """Connects."""
        # FFmpeg's "tee" with one branch: it alone takes options for the connection.
        container = av.open(f"[f=flv:{_options(self._order)}]{_escaped(self._order.url)}", "w", format="tee")
        self._container = container
        with av.open(io.BytesIO(keyframe), format="h264") as template:
            self._video = container.add_stream_from_template(template.streams.video[0], opaque=True)
        self._video.time_base = video_encoder.TIME_BASE
        self._audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self._audio.time_base = audio_encoder.TIME_BASE
        self._audio.bit_rate = AUDIO_BITRATE
        self._audio.codec_context.flags |= _GLOBAL_HEADER
        container.start_encoding()
        self.fresh = True
        print("connected", flush=True)

    def picture(self, data: bytes, at: int, *, key: bool) -> None:
        assert self._container is not None
        packet = stamped(data, at, PICTURE, video_encoder.TIME_BASE, self._video)
        packet.is_keyframe = key
        self._container.mux(packet)

    def sound(self, data: bytes, at: int) -> None:
        assert self._container is not None
        for frame in self._opus.decode(av.Packet(data)):
            frame.pts = at
            frame.time_base = Fraction(1, SAMPLE_RATE)
            at += PACKET_SAMPLES
            self._container.mux(self._audio.encode(frame))

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.mux(self._audio.encode(None))
            container.close()


def _options(order: Order) -> str:
    """Of the connection, as "tee" reads them."""
    options = {"rw_timeout": str(round(order.seconds * 1_000_000)), "flvflags": "no_duration_filesize"}
    if order.url.startswith("rtmps:"):
        # Without a word FFmpeg takes any certificate.
        options |= {"tls_verify": "1", "ca_file": order.certificates or _certificates()}
    return ":".join(f"{name}={_escaped(value)}" for name, value in options.items())


def _certificates() -> str:
    paths = ssl.get_default_verify_paths()
    found = [path for path in (paths.cafile, paths.openssl_cafile) if path and Path(path).is_file()]
    if not found:
        raise FileNotFoundError(errno.ENOENT, "there is no file of trusted certificates (Debian: ca-certificates)")
    return found[0]


def _escaped(text: str) -> str:
    """In FFmpeg's lists of options."""
    return "".join(f"\\{each}" if each in "\\':|[]=" else each for each in text)


def serve(order: Order, source: BinaryIO) -> None:
    """Until the source ends. Raises OSError and others that the network or FFmpeg does."""
    flv = Flv(order)
    arranger = Arranger(flv)
    while len(head := source.read(HEADER.size)) == HEADER.size:
        kind, flag, pts, size = HEADER.unpack(head)
        if size > _BIGGEST:
            raise ValueError("a packet is too large")
        data = source.read(size)
        if kind not in (PICTURE_KIND, SOUND_KIND):
            flv.fresh = flv.fresh and MARKS[flag] != "cut"
            arranger.mark(MARKS[flag])
        elif not flv.fresh:
            packet = av.Packet(data)
            packet.pts = pts
            packet.is_keyframe = kind == PICTURE_KIND and bool(flag)
            arranger.packet(packet, sound=kind == SOUND_KIND)
    arranger.flush()
    flv.close()


def explain(error: BaseException) -> tuple[str, str]:
    """The code and the message of LinkError; nothing of the address in it."""
    match error:
        case ConnectionRefusedError():
            return "unreachable", "Nothing listens at this address: the connection was refused."
        case TimeoutError():
            return "timeout", "The server did not answer in time."
        case BrokenPipeError() | ConnectionResetError():
            return "broken", "The server closed the connection."
        case EOFError():
            return "refused", "The server closed the connection while it was made; perhaps it does not know the key."
        case OSError() if error.errno == errno.EIO:
            return (
                "refused",
                "The server refused the stream, its name was not found, or its certificate is not trusted.",
            )
        case OSError():
            return "unreachable", f"The server cannot be reached: {error.strerror or 'unknown'}."
    return "internal", f"The stream could not be sent ({type(error).__name__})."


def main() -> None:
    av.logging.set_level(None)
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    try:
        serve(order, sys.stdin.buffer)
    except Exception as error:  # noqa: BLE001 - whatever it is, the server tells it
        code, message = explain(error)
        print(json.dumps({"code": code, "message": message}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
