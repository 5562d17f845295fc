"""A viewer's other end: reads packets, decodes them, and keeps what was seen and heard, with its media time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import av
import numpy as np

from pipeline.session import Viewer, ViewerClosed
from tests.pipeline.fakes import LOUD_LUMA, SILENT_LUMA, patch_box


@dataclass
class Receiver:
    """pictures: (media seconds, mean luma of the mouth region, arrival). sounds: (media seconds, rms 0..1, arrival)."""

    viewer: Viewer
    codec: str = "h264"
    decode: bool = True
    pictures: list[tuple[float, float, float]] = field(default_factory=list)
    sounds: list[tuple[float, float, float]] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    packets: list[av.Packet] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Receiver:
        self._tasks = [asyncio.create_task(self._see()), asyncio.create_task(self._hear())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.viewer.close()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 15)

    async def until(self, condition, limit: float = 20.0) -> None:
        async with asyncio.timeout(limit):
            while not condition():
                self._came.clear()
                await self._came.wait()

    def mouths(self) -> list[tuple[float, float]]:
        """(media seconds, mouth 0..1 as FakeFace paints it)."""
        return [(at, (luma - SILENT_LUMA) / (LOUD_LUMA - SILENT_LUMA)) for at, luma, _ in self.pictures]

    async def _see(self) -> None:
        decoder = av.CodecContext.create("h264" if self.codec == "h264" else "vp8", "r")
        try:
            while True:
                packet = await self.viewer.video()
                now = time.monotonic()
                self.keys.append(packet.is_keyframe)
                self.packets.append(packet)
                luma = 0.0
                if self.decode:
                    for frame in decoder.decode(av.Packet(bytes(packet))):
                        picture = frame.to_ndarray()[: frame.height]
                        x0, y0, x1, y1 = patch_box(frame.width, frame.height)
                        luma = float(picture[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean())
                        self.sizes.add((frame.width, frame.height))
                self.pictures.append((float(packet.pts * packet.time_base), luma, now))
                self._came.set()
        except ViewerClosed:
            self._came.set()

    async def _hear(self) -> None:
        decoder = av.CodecContext.create("libopus", "r")
        try:
            while True:
                packet = await self.viewer.audio()
                now = time.monotonic()
                rms = 0.0
                if self.decode:
                    for frame in decoder.decode(av.Packet(bytes(packet))):
                        samples = frame.to_ndarray().astype(np.float64)
                        scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
                        rms = float(np.sqrt(np.mean((samples / scale) ** 2)))
                self.sounds.append((float(packet.pts * packet.time_base), rms, now))
                self._came.set()
        except ViewerClosed:
            self._came.set()
