"""Viewers on six UDP ports: that they all come, what one costs, and what it would cost on a socket of its own."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from dataclasses import dataclass
from typing import cast

import psutil
import structlog

from bench.figures import Figure
from bench.viewer_process import ViewerProcess
from server.rtc.media_port import MediaPort, MediaPorts
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.rtc.fakes import FakeLive

VIEWERS = 24  # 25 fps, 0.4 Mbit/s
PORTS = (47350, 47355)
ROUNDS = 3
SECONDS = 8.0


class OwnSockets:
    """A socket for each connection and address, as it would be without sharing."""

    def open(self, host: str) -> MediaPort | None:
        return MediaPorts((0,)).open(host)


@dataclass(frozen=True, slots=True)
class Measured:
    """core: CPU seconds a second for each viewer. files: open handles for each. connected: viewers."""

    core: float
    files: float
    connected: int
    ports: int


async def _measure(shared: bool) -> Measured:
    first, last = PORTS
    peers = PeerRegistry(RtcSettings(port_min=first, port_max=last, max_peers_per_session=VIEWERS))
    if not shared:
        peers.ports = cast(MediaPorts, OwnSockets())
    before = psutil.Process().num_fds()
    async with FakeLive(width=640, height=360) as live, ViewerProcess() as viewers:
        alone = await _cpu(live)
        for viewer in range(VIEWERS):
            await viewers.open(viewer, peers, live, "h264")
        files = psutil.Process().num_fds() - before
        used = await _cpu(live)
        connected = sum(entry.peer.state == "connected" for entry in peers.of("bench"))
        ports = peers.ports.count if shared else VIEWERS
        await peers.close()
    return Measured((used - alone) / VIEWERS, files / VIEWERS, connected, ports)


async def _cpu(live: FakeLive) -> float:
    """CPU seconds a second of this process, by the picture: a busy machine that makes fewer tells the same."""
    await asyncio.sleep(1)
    used, pictures = time.process_time(), live.pictures
    await asyncio.sleep(SECONDS)
    return (time.process_time() - used) / (live.pictures - pictures) * 25


def figures() -> list[Figure]:
    """Both ways by turns; medians."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rounds = [(asyncio.run(_measure(True)), asyncio.run(_measure(False))) for _ in range(ROUNDS)]
    shared, own = ([pair[way] for pair in rounds] for way in (0, 1))
    fewest = min(each.connected for each in shared)
    cost = statistics.median(each.core for each in shared)
    alone = statistics.median(each.core for each in own)
    return [
        Figure("viewers on six open UDP ports", f"{VIEWERS}", f"{fewest}", fewest == VIEWERS, "all on one port"),
        Figure(
            "a viewer on a shared socket / on its own",
            "no dearer by 10 %",
            f"{cost * 1000:.1f} / {alone * 1000:.1f} ms CPU a second",
            cost <= alone * 1.1,
            f"handles a viewer: {shared[0].files:.1f} / {own[0].files:.1f}",
        ),
    ]
