"""A WebRTC client that notes each RTP packet when it arrives: what is on the wire, and when."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.h264 import H264PayloadDescriptor
from yarl import URL

from bench.serving import Session

VOICED = 200.0  # root mean square of int16; the silence that is sent is digital zero before Opus


@dataclass(frozen=True, slots=True)
class Sound:
    """One Opus packet: when it arrived (time.monotonic()), its RTP time, and how loud it is (RMS of int16)."""

    at: float
    timestamp: int
    loudness: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame: when its last packet arrived, its RTP time, and its luma plane."""

    at: float
    timestamp: int
    luma: np.ndarray


@dataclass(slots=True)
class Wire:
    """Everything that has arrived. `pictures` is filled only when `decode` is set, cut to `crop` (x0 y0 x1 y1)."""

    sounds: list[Sound] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    video_packets: int = 0
    decode: bool = False
    crop: tuple[int, int, int, int] | None = None

    async def voiced_after(self, moment: float, limit: float) -> Sound | None:
        """The first voiced packet that arrives after `moment`, or None when none has within `limit` seconds."""
        seen, end = 0, time.monotonic() + limit
        while time.monotonic() < end:
            for sound in self.sounds[seen:]:
                if sound.at >= moment and sound.loudness > VOICED:
                    return sound
            seen = len(self.sounds)
            await asyncio.sleep(0.002)
        return None


def _tap(receiver: Any, note: Any) -> None:
    original = receiver._handle_rtp_packet

    async def handle(packet: Any, arrival_time_ms: int) -> None:
        note(packet, time.monotonic())
        await original(packet, arrival_time_ms)

    receiver._handle_rtp_packet = handle


@contextlib.asynccontextmanager
async def connected(
    session: Session, *, decode: bool = False, microphone: MediaStreamTrack | None = None
) -> AsyncIterator[Wire]:
    """Join a session by WHEP and note what arrives until the block ends. microphone: what the student says."""
    wire = Wire(decode=decode)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    way = "recvonly" if microphone is None else "sendrecv"
    audio = pc.addTransceiver(microphone or "audio", direction=way).receiver
    video = pc.addTransceiver("video", direction="recvonly").receiver
    opus = av.CodecContext.create("libopus", "r")
    h264 = av.CodecContext.create("h264", "r")
    units: list[bytes] = []

    def on_sound(packet: Any, now: float) -> None:
        loudness = 0.0
        for frame in opus.decode(av.Packet(packet.payload)):
            samples = frame.to_ndarray().astype(np.float32)
            scale = 32768.0 if frame.format.name.startswith("flt") else 1.0
            loudness = float(np.sqrt(np.mean((samples * scale) ** 2)))
        wire.sounds.append(Sound(now, packet.timestamp, loudness))

    def on_video(packet: Any, now: float) -> None:
        wire.video_packets += 1
        if not wire.decode or not packet.payload:
            return
        _, unit = H264PayloadDescriptor.parse(packet.payload)
        units.append(unit)
        if not packet.marker:
            return
        data = b"".join(units)
        units.clear()
        with contextlib.suppress(av.FFmpegError):  # before the first keyframe there is nothing to decode
            for frame in h264.decode(av.Packet(data)):
                luma = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
                x0, y0, x1, y1 = wire.crop or (0, 0, frame.width, frame.height)
                wire.pictures.append(Picture(now, packet.timestamp, luma[y0:y1, x0:x1].copy()))

    _tap(audio, on_sound)
    _tap(video, on_video)
    h264.thread_count = 1
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {session.token}"}
        async with http.post(session.whep, data=pc.localDescription.sdp, headers=headers) as answer:
            if answer.status != 201:
                raise RuntimeError(f"WHEP answered {answer.status}: {await answer.text()}")
            resource = str(answer.url.join(URL(answer.headers["Location"])))
            await pc.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
        drains = [asyncio.create_task(_drain(receiver.track)) for receiver in (audio, video)]
        try:
            yield wire
        finally:
            for drain in drains:
                drain.cancel()
            await asyncio.gather(*drains, return_exceptions=True)
            await pc.close()
            async with http.delete(resource, headers=headers) as answer:
                await answer.read()


async def _drain(track: Any) -> None:
    """Read what aiortc decodes and forget it: a received track that nobody reads grows without end."""
    while True:
        await track.recv()
