"""A school's server in a process of its own, perhaps in a network namespace: real WebRTC, pretended sessions.

Run with one argument, JSON: {"host", "port", "folder", "webrtc": {…}, "hosts": [names it is reached by]}. Says "ready",
and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from server.app import build_app
from tests.server.conftest import add_ready, settings_in
from tests.server.fakes import FakeEngine, FakeSession, quiet_book


async def main(given: dict[str, Any]) -> None:
    folder = Path(given["folder"])
    add_ready(folder / "avatars", "ada", tutor_id="ada")
    settings = settings_in(folder, server={"allowed_hosts": given["hosts"]}, webrtc=given["webrtc"])
    app = build_app(settings, engine=FakeEngine(), book=quiet_book(), live=FakeSession)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, given["host"], given["port"]).start()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
