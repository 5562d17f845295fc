"""A film as a player finds it: every time in it checked, every picture and sound decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from tests.pipeline.fakes import LOUD_LUMA, SILENT_LUMA, patch_box

VOICED = 0.05


@dataclass
class Film:
    """pictures: (seconds, mouth 0..1 as FakeFace paints it). sounds: (seconds, rms 0..1) of each 20 ms."""

    format: str
    codecs: list[str]
    pictures: list[tuple[float, float]] = field(default_factory=list)
    sounds: list[tuple[float, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return max(self.pictures[-1][0] + 0.04, self.sounds[-1][0] + 0.02)

    @property
    def loud(self) -> list[float]:
        return [at for at, rms in self.sounds if rms > VOICED]


def read(path: Path) -> Film:
    """Fails when times go back, come twice or are below 0, when the sound has a hole, or one cannot be decoded."""
    times: dict[str, list[float]] = {"video": [], "audio": []}
    with av.open(str(path)) as container:
        film = Film(container.format.name, [stream.codec_context.name for stream in container.streams])
        for packet in container.demux():
            if packet.size == 0:
                continue
            assert packet.dts is not None
            assert packet.pts == packet.dts
            times[packet.stream.type].append(float(packet.dts * packet.time_base))
            for frame in packet.decode():
                _take(film, frame)
        for stream in container.streams:
            for frame in stream.codec_context.decode(None):
                _take(film, frame)
    for kind, of in times.items():
        assert of[0] >= 0, kind
        assert all(b > a for a, b in pairwise(of)), kind
    assert all(abs(b - a - 0.02) < 0.0011 for a, b in pairwise(times["audio"])), "a hole in the sound"
    assert len(film.pictures) == len(times["video"]), "a picture that cannot be decoded"
    assert len(film.sounds) >= len(times["audio"]) - 1
    return film


def _take(film: Film, frame: object) -> None:
    if isinstance(frame, av.VideoFrame):
        assert frame.time is not None
        luma = frame.to_ndarray()[: frame.height]
        x0, y0, x1, y1 = patch_box(frame.width, frame.height)
        inner = luma[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4]
        mouth = (float(inner.mean()) - SILENT_LUMA) / (LOUD_LUMA - SILENT_LUMA) if inner.size else 0.0
        film.pictures.append((frame.time, mouth))
    elif isinstance(frame, av.AudioFrame):
        assert frame.time is not None
        packet = round(frame.time / 0.02) * 0.02  # decoders leave out 6.5 ms of the first
        film.sounds.append((packet, float(np.sqrt((frame.to_ndarray().astype(np.float64) ** 2).mean()))))
