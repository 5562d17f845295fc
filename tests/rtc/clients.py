"""A viewer made with aiortc, for tests and benchmarks: what it saw and heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

from server.rtc.private import OwnedConnect

LIMIT = 30.0  # s, for what takes a moment where nobody else wants the machine


class AiortcViewer:
    """`kinds`: what it asks for, in this order. frames, and samples with their energy, are what was decoded."""

    def __init__(self, kinds: tuple[str, ...] = ("audio", "video"), direction: str = "recvonly") -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connect = OwnedConnect(self.pc)  # aiortc's own close leaves tasks behind when it comes early
        self.frames = 0
        self.samples = 0
        self.energy = 0.0
        self.first_frame: float | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.pc.on("track", self._on_track)
        for kind in kinds:
            self.pc.addTransceiver(kind, direction=direction)

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def until(self, condition: Callable[[], bool], seconds: float = LIMIT) -> None:
        await until(condition, seconds)

    async def close(self) -> None:
        await self._connect.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.ensure_future(self._drain(track)))

    async def _drain(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, VideoFrame):
                self.first_frame = self.first_frame or time.monotonic()
                self.frames += 1
            elif isinstance(frame, AudioFrame):
                samples = frame.to_ndarray().astype(np.float64) / 32768
                self.samples += samples.size
                self.energy += float((samples**2).sum())

    @property
    def loudness(self) -> float:
        """Root mean square of what was heard, 0..1."""
        return (self.energy / self.samples) ** 0.5 if self.samples else 0.0


async def until(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    """Wait for a condition that some callback makes true; fail when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the condition is any callback's doing)
            await asyncio.sleep(0.01)
