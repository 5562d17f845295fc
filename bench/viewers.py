"""`python -m bench.viewers`: CPU of the server for 0 to 16 viewers of one 720p session, and of each further one.

CPU is counted by the picture and given for 25 of them a second, so that a machine too busy for 25 tells the same.
"""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
import structlog

from avatars.avatar import FPS
from bench.viewer_process import ViewerProcess
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.rtc.fakes import FakeLive

COUNTS = (0, 1, 2, 4, 8, 16)
SECONDS = 8.0


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    peers = PeerRegistry(RtcSettings())
    cores = []
    async with FakeLive(width=1280, height=720, noise=10) as live, ViewerProcess() as viewers:
        for count in COUNTS:
            while peers.count() < count:
                await viewers.open(peers.count(), peers, live, "h264")
            await asyncio.sleep(1)
            sent = sum([(await entry.peer.stats()).bytes for entry in peers.of("bench")])
            began, used, pictures = time.monotonic(), time.process_time(), live.pictures
            await asyncio.sleep(SECONDS)
            took, pictures = time.monotonic() - began, live.pictures - pictures
            cores.append((time.process_time() - used) / pictures * FPS)
            sent = sum([(await entry.peer.stats()).bytes for entry in peers.of("bench")]) - sent
            rate = sent * 8 / pictures * FPS / max(1, count) / 1e6
            fps = pictures / took
            print(f"{count:3d} viewers: {cores[-1]:.3f} core, {rate:.2f} Mbit/s each, {fps:.1f} fps", flush=True)
        await peers.close()
    slope = np.polyfit(COUNTS[1:], cores[1:], 1)[0]
    print(f"each further viewer: {slope:.4f} core (sound and picture)")


if __name__ == "__main__":
    asyncio.run(main())
