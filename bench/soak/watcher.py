"""A viewer that counts pictures without decoding them: which came, by their RTP times, and which never did."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcrtpreceiver
from aiortc.codecs.base import Decoder
from yarl import URL

from bench.serving import Session

TICK = 3600
"""RTP time from one picture to the next: 90 kHz at 25 a second."""


class _Nothing(Decoder):
    """Many viewers' decoding would take the machine that is measured."""

    def decode(self, encoded_frame: Any) -> list[Any]:
        return []


@dataclass(slots=True)
class Watcher:
    """pictures: RTP time of each picture that arrived whole, and when (time.monotonic())."""

    pictures: list[tuple[int, float]] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        """Pictures a second that arrived in that time."""
        return sum(since <= at < until for _, at in self.pictures) / (until - since)

    def missing(self, since: float, until: float) -> int:
        """Pictures between the first and the last of that time that never arrived."""
        times = [timestamp for timestamp, at in self.pictures if since <= at < until]
        if len(times) < 2:
            return 0
        span = ((times[-1] - times[0]) & 0xFFFFFFFF) // TICK
        return span + 1 - len(set(times))

    def longest_gap(self, since: float, until: float) -> float:
        """Seconds between two pictures, the longest time of all."""
        moments = [at for _, at in self.pictures if since <= at < until]
        return max((b - a for a, b in itertools.pairwise(moments)), default=until - since)

    def forget(self) -> None:
        """Drop what is noted so far; half an hour of it is not needed."""
        self.pictures.clear()


@contextlib.asynccontextmanager
async def watching(http: aiohttp.ClientSession, session: Session) -> AsyncIterator[Watcher]:
    """Join a session by WHEP and note its pictures until the block ends."""
    rtcrtpreceiver.get_decoder = lambda codec: _Nothing()
    watcher = Watcher()
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    resource = ""
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {session.token}"}
    try:
        pc.addTransceiver("audio", direction="recvonly")
        _note(pc.addTransceiver("video", direction="recvonly").receiver, watcher)
        await pc.setLocalDescription(await pc.createOffer())
        async with http.post(session.whep, data=pc.localDescription.sdp, headers=headers) as answer:
            text = await answer.text()
            if answer.status != 201:
                raise RuntimeError(f"WHEP answered {answer.status}: {text[:300]}")
            resource = str(answer.url.join(URL(answer.headers["Location"])))
        await pc.setRemoteDescription(RTCSessionDescription(text, "answer"))
        yield watcher
    finally:
        await pc.close()
        if resource:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # its session may have ended first
                async with http.delete(resource, headers=headers) as answer:
                    await answer.read()


def _note(receiver: Any, watcher: Watcher) -> None:
    original = receiver._handle_rtp_packet

    async def handle(packet: Any, arrival_time_ms: int) -> None:
        if packet.marker and packet.payload:
            watcher.pictures.append((packet.timestamp, time.monotonic()))
        await original(packet, arrival_time_ms)

    receiver._handle_rtp_packet = handle
