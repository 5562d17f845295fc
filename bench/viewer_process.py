"""Runs bench.viewer_child and brings its viewers to a registry of peers."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any

from server.rtc.registry import PeerRegistry
from server.rtc.source import MediaSource

SECONDS = 20.0


class ViewerProcess:
    """`async with ViewerProcess() as viewers`."""

    async def __aenter__(self) -> ViewerProcess:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.viewer_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        await self._process.wait()

    async def open(self, viewer: int, peers: PeerRegistry, source: MediaSource, codec: str) -> None:
        """Connect one viewer and wait for its first picture."""
        await self._tell(do="open", id=viewer)
        offer = await self._hear("sdp")
        _, answer = await peers.connect("bench", source, codec, offer, place="here")
        await self._tell(do="answer", id=viewer, sdp=answer)
        await self._hear("packets")

    async def close(self, viewer: int) -> None:
        await self._tell(do="close", id=viewer)
        await self._hear("closed")

    async def _tell(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def _hear(self, name: str) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    raise RuntimeError("The viewers' process has ended.")
                message = json.loads(line)
                if name in message:
                    return message[name]
