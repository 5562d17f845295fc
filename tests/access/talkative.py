"""A server that logs all it can, as a process: everything real but voices, lips and the live picture.

`python -m tests.access.talkative config.yaml` serves until it gets SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from server import logs
from server.app import build_app
from server.front import runner_of
from server.settings import Settings, load
from tests.server.fakes import FakeEngine, FakeSession, quiet_book


async def main(settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = runner_of(build_app(settings, engine=FakeEngine(), book=quiet_book(), live=FakeSession))  # type: ignore[arg-type]
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"listening: http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    found = load(Path(sys.argv[1]))
    logs.configure(found.server)
    asyncio.run(main(found))
