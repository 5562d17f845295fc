"""The server's side of an RTMP output: a child process that sends, and what is handed to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from av.packet import Packet
from av.stream import Stream

from pipeline.outputs.link import LinkError
from pipeline.outputs.sink import Mark
from pipeline.outputs.tap import Source, Tap

log = structlog.get_logger(__name__)

HEADER = struct.Struct("<cBqI")
"""Kind, flag, pts, bytes that follow. The flag of a picture: it is a keyframe; of a mark: which one."""

PICTURE_KIND, SOUND_KIND, MARK_KIND = b"p", b"s", b"m"
MARKS: tuple[Mark, ...] = ("cut", "lost")

CONNECT_SECONDS = 20.0  # from the beginning until the server takes the stream, the child's start included
IO_SECONDS = 10.0  # for each step of connecting, and for each write
STALL_SECONDS = 15.0  # in which the child takes nothing
CLOSE_SECONDS = 3.0
MOST_WAITING = 1 << 20  # bytes: 3 s at 2.5 Mbit/s

_ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""All that the child is told of the server's environment, which holds secrets."""


class RtmpLink:
    """A Link. url: rtmp:// or rtmps://, with the stream's key. certificates: a file, for tests."""

    def __init__(self, url: str, *, certificates: str = "") -> None:
        self._order = {"url": url, "seconds": IO_SECONDS, "certificates": certificates}

    async def push(self, source: Source, connected: Callable[[], None]) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pipeline.outputs.rtmp_child",
            cwd=_ROOT,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._run(child, source, connected)
        finally:
            await _end(child)

    async def _run(self, child: asyncio.subprocess.Process, source: Source, connected: Callable[[], None]) -> None:
        assert child.stdin is not None
        child.stdin.write(json.dumps(self._order).encode() + b"\n")
        pipe = _Pipe(child.stdin)
        tap = Tap(pipe)

        def told() -> None:
            connected()
            tap.restart()

        pulling = asyncio.create_task(tap.run(source), name="rtmp-pull")
        following = asyncio.create_task(_follow(child, pipe, told), name="rtmp-follow")
        try:
            await asyncio.wait({pulling, following}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pulling, following):
                task.cancel()
            await asyncio.wait({pulling, following})
        for task in (following, pulling):
            if not task.cancelled():
                task.result()


class _Pipe:
    """An Intake: the child's standard input."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream
        self._last: Mark | None = None

    @property
    def waiting(self) -> int:
        """Bytes that the child has not taken."""
        return self._stream.transport.get_write_buffer_size()

    @property
    def roomy(self) -> bool:
        return self.waiting <= MOST_WAITING // 2 and not self._stream.is_closing()

    def put(self, packet: Packet[Stream], *, sound: bool) -> bool:
        if self.waiting > MOST_WAITING or self._stream.is_closing():
            return False
        data = bytes(packet)
        kind = SOUND_KIND if sound else PICTURE_KIND
        self._stream.write(HEADER.pack(kind, packet.is_keyframe, packet.pts or 0, len(data)) + data)
        self._last = None
        return True

    def mark(self, mark: Mark) -> None:
        if self._last != mark and not self._stream.is_closing():
            self._last = mark
            self._stream.write(HEADER.pack(MARK_KIND, MARKS.index(mark), 0, 0))


async def _follow(child: asyncio.subprocess.Process, pipe: _Pipe, connected: Callable[[], None]) -> None:
    """What the child tells. Raises LinkError when it is at its end, or takes nothing any more."""
    assert child.stdout is not None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            line = await child.stdout.readline()
    except TimeoutError:
        raise LinkError("timeout", "The server did not answer in time.") from None
    if line.strip() != b"connected":
        raise _told(line)
    connected()
    ending = asyncio.ensure_future(child.stdout.readline())
    stuck = 0.0
    try:
        while not ending.done():
            await asyncio.wait({ending}, timeout=1.0)
            stuck = 0.0 if pipe.roomy else stuck + 1.0
            if stuck >= STALL_SECONDS:
                raise LinkError("stalled", "The server takes nothing any more.")
        raise _told(ending.result())
    finally:
        ending.cancel()


def _told(line: bytes) -> LinkError:
    try:
        told: dict[str, Any] = json.loads(line)
        return LinkError(str(told["code"]), str(told["message"]))
    except (ValueError, TypeError, KeyError):
        return LinkError("internal", "The process that sends the stream has ended.")


async def _end(child: asyncio.subprocess.Process) -> None:
    """Let it say goodbye, for a while."""
    assert child.stdin is not None
    child.stdin.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await child.wait()
    except TimeoutError:
        log.info("rtmp_child_killed")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    await child.wait()
