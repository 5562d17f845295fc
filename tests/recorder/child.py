"""Records one film after another, faster than life, until it is killed. Arguments: the folder.

Prints a line a picture: the recording's id and how many seconds of it were handed on.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.audio_encoder import PACKET_SAMPLES, AudioEncoder
from pipeline.media import VideoSettings
from pipeline.outputs.film import FilmFile
from pipeline.video_encoder import VideoEncoder
from server.recorder.record import Record
from server.recorder.shelf import Shelf

PICTURES = 250


def main(folder: Path) -> None:
    shelf = Shelf(folder)
    video, audio = VideoEncoder(VideoSettings(), 96, 64), AudioEncoder()
    picture = av.VideoFrame(96, 64, "yuv420p")
    for plane in picture.planes:
        plane.update(bytes(plane.buffer_size))
    tone = (8000 * np.sin(np.arange(PACKET_SAMPLES) * 0.05)).astype(np.int16)
    for number in range(1000):
        record = Record(
            id=f"film{number}",
            session_id="s",
            student_id="student",
            tutor_id=None,
            avatar_id="ada",
            format="mp4",
            started_at=datetime.now(UTC),
        )
        shelf.begin(record)
        film = FilmFile(shelf.film(record), "h264")
        for n in range(PICTURES):
            for packet in video.encode(picture, n == 0):
                stamp(packet, n * 3600, 90_000)
                film.packet(packet, sound=False)
            for half in (0, 1):
                for packet in audio.encode(tone):
                    stamp(packet, (2 * n + half) * PACKET_SAMPLES, 48_000)
                    film.packet(packet, sound=True)
            print(record.id, film.seconds, flush=True)
        film.close()
        shelf.save(record.model_copy(update={"state": "complete", "seconds": film.seconds}))


def stamp(packet: av.Packet, at: int, clock: int) -> None:
    packet.pts = packet.dts = at
    packet.time_base = Fraction(1, clock)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
