"""The child that touches an uploaded recording: `python -m pipeline.speech_file_child JOB`, under avatars.sandbox.

JOB (JSON): source, output (raw mono int16 at 48 kHz is written there), max_seconds. On standard output one JSON object
a line: {"samples": written so far}, or at last {"error": code}.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.audio.frame import AudioFrame

from pipeline.media import SAMPLE_RATE, Pcm
from pipeline.resample import Resampler

_RATES = range(4_000, 384_001)
_STEP = SAMPLE_RATE  # samples between two reports; the first comes at once
_BAD_PACKETS = 1000  # in a row, after which a broken file is given up

# Self-contained formats by their first bytes. Playlists and whatever names other files or addresses are not among
# them, so FFmpeg is never left to guess a demuxer that would open those.
_MAGIC = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"caff", "caf"),
    (0, b"#!AMR", "amr"),
    (0, b".snd", "au"),
    (0, b"wvpk", "wv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
)


class Refused(Exception):
    """The file is refused; str() is the code."""


def demuxer_of(head: bytes) -> str | None:
    """The one FFmpeg demuxer that a file with this head may be opened with."""
    for at, magic, name in _MAGIC:
        if head.startswith(magic, at):
            return name
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in (b"WAVE", b"AVI "):
        return "wav" if head[8:12] == b"WAVE" else "avi"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:3] == b"ID3":
        return _mpeg(head[10 + _id3_size(head) :]) or "mp3"
    return _mpeg(head)


def _id3_size(head: bytes) -> int:
    """ID3v2, 3.1: four bytes of seven bits."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size


def _mpeg(head: bytes) -> str | None:
    """MPEG audio by its frame sync: layer 0 is AAC in ADTS (ISO 13818-7), 1 to 3 are MP1 to MP3 (ISO 11172-3)."""
    if head.startswith(b"fLaC"):
        return "flac"
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    sane = head[1] & 0x18 != 0x08 and head[1] & 0x06 != 0 and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return "mp3" if sane else None


def main(job: dict[str, Any]) -> None:
    """Decode `job`; raises Refused."""
    limit = round(job["max_seconds"] * SAMPLE_RATE)
    with Path(job["source"]).open("rb") as source, Path(job["output"]).open("r+b", buffering=0) as output:
        head = source.read(65536)
        if not head:
            raise Refused("audio_empty")
        demuxer = demuxer_of(head)
        if demuxer is None:
            raise Refused("audio_unreadable")
        source.seek(0)
        written = reported = 0
        for pcm in sound(source, demuxer, job["max_seconds"]):
            written += len(pcm)
            if written > limit:
                raise Refused("audio_too_long")
            output.write(pcm.tobytes())
            if not reported or written - reported >= _STEP:
                reported = written
                say(samples=written)
        if written > reported:
            say(samples=written)


def sound(source: BinaryIO, demuxer: str, max_seconds: float) -> Iterator[Pcm]:
    """The first sound track, resampled, packet by packet. What cannot be decoded is skipped."""
    try:
        options = {"protocol_whitelist": "", "format_whitelist": demuxer}
        container = av.open(source, "r", format=demuxer, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise Refused("audio_unreadable") from error
    with container:
        if not container.streams.audio:
            raise Refused("audio_empty")
        stream = container.streams.audio[0]
        length = stream.duration and stream.time_base and float(stream.duration * stream.time_base)
        if (length or 0) > max_seconds + 1 or (container.duration or 0) / av.time_base > max_seconds + 1:
            raise Refused("audio_too_long")
        stream.codec_context.thread_count = 1
        resampler: Resampler | None = None
        for frame in frames(container, stream):
            if frame.sample_rate not in _RATES:
                raise Refused("audio_unreadable")
            if resampler is None or not resampler.fits(frame):
                if resampler is not None:
                    yield resampler.finish()
                resampler = Resampler(frame.sample_rate, frame.format.name, frame.layout.name)
            yield resampler.feed(frame)
        if resampler is not None:
            yield resampler.finish()


def frames(container: Any, stream: Any) -> Iterator[AudioFrame]:
    """Decoded frames, up to the file's end or the place from which nothing can be read any more."""
    good = bad = row = 0
    packets = container.demux(stream)
    while row <= _BAD_PACKETS:
        try:
            packet = next(packets)
            decoded = packet.decode()
        except StopIteration:
            break
        except av.FFmpegError:
            bad += 1
            row += 1
            continue
        row = 0
        good += len(decoded)
        yield from decoded
    if not good:
        raise Refused("audio_unreadable" if bad else "audio_empty")


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Refused as error:
        say(error=str(error))
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        say(error="disk_full")
        sys.exit(2)
