"""A live session's media side, honest: a moving picture and a tone, encoded once for all viewers, in real time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType

from pipeline.fanout import ViewerClosed
from pipeline.media import VideoSettings

TONE_HZ = 440


class FakeViewer:
    """Bounded queues of half a second; on overflow, and at first, nothing until a keyframe."""

    def __init__(self, live: FakeLive) -> None:
        self._live = live
        self._queues: dict[str, deque[av.Packet]] = {"video": deque(), "audio": deque()}
        self._wake = asyncio.Event()
        self._keyed = False
        self.closed = False
        self.estimates: list[int] = []

    def push(self, kind: str, packet: av.Packet) -> None:
        queue = self._queues[kind]
        if kind == "video":
            if len(queue) >= 12:
                queue.clear()
                self._keyed = False
                self._live.force_key()
            self._keyed = self._keyed or packet.is_keyframe
            if not self._keyed:
                return
        elif len(queue) >= 25:
            queue.popleft()
        queue.append(packet)
        self._wake.set()

    async def _next(self, kind: str) -> av.Packet:
        while True:
            if self.closed:
                raise ViewerClosed
            if self._queues[kind]:
                return self._queues[kind].popleft()
            self._wake.clear()
            await self._wake.wait()

    async def video(self) -> av.Packet:
        return await self._next("video")

    async def audio(self) -> av.Packet:
        return await self._next("audio")

    def request_key(self) -> None:
        self._live.keys_requested += 1
        self._live.force_key()

    def report_estimate(self, bitrate: int) -> None:
        self.estimates.append(bitrate)

    def close(self) -> None:
        self.closed = True
        self._live.viewers.discard(self)
        self._wake.set()


class FakeLive:
    """`async with FakeLive() as live`: encodes 25 frames and 50 sound packets a second from then on.

    noise: amplitude of a noise in the picture, 0..100; with 10 a 720p picture needs all of its 2.5 Mbit/s.
    """

    def __init__(
        self, *, codec: str = "h264", width: int = 320, height: int = 180, gop: int = 10_000, noise: int = 0
    ) -> None:
        self.video = VideoSettings(codec=codec, bitrate=2_500_000 if height >= 720 else 400_000, gop=gop)
        self.viewers: set[FakeViewer] = set()
        self.pictures = 0
        self.keys_requested = 0
        self.joins = 0
        self.running = False
        self._key = True
        self._size = (width, height)
        self._encoder = self._open(codec, gop)
        self._opus = av.CodecContext.create("libopus", "w")
        self._opus.sample_rate = 48_000
        self._opus.layout = "mono"
        self._opus.format = "s16"
        self._opus.bit_rate = 48_000
        self._opus.open()
        luma = np.add.outer(np.arange(height, dtype=np.uint16), np.arange(width, dtype=np.uint16))
        self._luma = luma
        generator = np.random.default_rng(1)
        self._noise = [generator.integers(0, noise + 1, luma.shape, np.uint16) for _ in range(8 if noise else 0)]
        self._chroma = np.full((height // 2, width), 128, np.uint8)
        t = np.arange(960 * 3) / 48_000  # 440 Hz has a whole number of periods in 50 ms; 3 packets hold 26.4
        self._tone = (8000 * np.sin(2 * np.pi * 450 * t[:960])).astype(np.int16).reshape(1, -1)  # 9 whole periods

    def _open(self, codec: str, gop: int) -> av.VideoCodecContext:
        encoder = av.CodecContext.create("libx264" if codec == "h264" else "libvpx", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height = self._size
        encoder.pix_fmt = "yuv420p"
        encoder.bit_rate = self.video.bitrate
        encoder.framerate = Fraction(25)
        encoder.time_base = Fraction(1, 90_000)
        encoder.gop_size = gop
        encoder.thread_count = 1
        if codec == "h264":
            encoder.profile = "Baseline"
            encoder.options = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1"}
        else:
            encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        return encoder

    def join(self) -> FakeViewer:
        viewer = FakeViewer(self)
        self.viewers.add(viewer)
        self.joins += 1
        self.force_key()
        return viewer

    def force_key(self) -> None:
        self._key = True

    async def __aenter__(self) -> FakeLive:
        self._task = asyncio.create_task(self._run())
        self.running = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.running = False
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for viewer in tuple(self.viewers):
            viewer.close()

    async def _run(self) -> None:
        start = time.monotonic()
        tick = 0
        while True:
            tick = max(tick + 1, int((time.monotonic() - start) * 50))
            await asyncio.sleep(max(0.0, start + tick / 50 - time.monotonic()))
            if tick % 2 == 0:
                self._send("video", self._encode_video(tick))
            self._send("audio", self._encode_audio(tick))

    def _send(self, kind: str, packets: list[av.Packet]) -> None:
        for packet in packets:
            for viewer in tuple(self.viewers):
                viewer.push(kind, packet)

    def _encode_video(self, tick: int) -> list[av.Packet]:
        luma = self._luma + tick * 4
        if self._noise:
            luma = luma + self._noise[tick // 2 % len(self._noise)]
        picture = np.vstack([luma.astype(np.uint8), self._chroma])
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = tick * 1800
        frame.time_base = Fraction(1, 90_000)
        frame.pict_type = PictureType.I if self._key else PictureType.NONE
        self._key = False
        self.pictures += 1
        return list(self._encoder.encode(frame))

    def _encode_audio(self, tick: int) -> list[av.Packet]:
        frame = av.AudioFrame.from_ndarray(self._tone, format="s16", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = tick * 960
        frame.time_base = Fraction(1, 48_000)
        packets = list(self._opus.encode(frame))
        for packet in packets:
            packet.pts = tick * 960
            packet.time_base = Fraction(1, 48_000)
        return packets
