"""`python -m bench.connects [N]`: N viewers (200) come and go; what the server's process then still holds."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading

import psutil
import structlog

from bench.viewer_process import ViewerProcess
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.rtc.fakes import FakeLive


def held() -> str:
    gc.collect()
    process = psutil.Process()
    return (
        f"{process.num_fds()} files, {len(asyncio.all_tasks())} tasks, {threading.active_count()} threads, "
        f"{process.memory_info().rss / 1e6:.1f} MB"
    )


async def main(times: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    peers = PeerRegistry(RtcSettings())
    async with FakeLive() as live, ViewerProcess() as viewers:
        print(f"before: {held()}")
        for turn in range(1, times + 1):
            await viewers.open(turn, peers, live, "h264")
            if turn % 2:
                await viewers.close(turn)
                async with asyncio.timeout(10):
                    while peers.count():  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            else:
                await peers.close_session("bench")
                await viewers.close(turn)
            if turn in (1, 10) or turn % 50 == 0:
                print(f"after {turn:3d}: {held()}", flush=True)
        await peers.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
