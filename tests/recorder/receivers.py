"""Servers that outputs are sent to: an RTMP one of FFmpeg's, in a thread, and a WHIP endpoint of aiortc's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from server.rtc.private import OwnedConnect
from tests.recorder.films import Film, _take
from tests.rtc.clients import until

LISTEN_SECONDS = 30.0


def _listens(port: int) -> bool:
    """Whether somebody does. Asked of the system: who only tried to connect would be taken for the one stream."""
    connections = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(int(fields[1].split(":")[1], 16) == port and fields[3] == "0A" for fields in connections)


class RtmpReceiver:
    """Takes one stream, from `listening` on. `stop` closes the connection under it."""

    def __init__(self, port: int, path: str = "live/key") -> None:
        self.film = Film("", [])
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._stop = threading.Event()
        self._port = port
        self._url = f"rtmp://127.0.0.1:{port}/{path}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def listening(self) -> None:
        await until(lambda: _listens(self._port))

    async def until(self, pictures: int) -> None:
        await until(lambda: len(self.film.pictures) >= pictures)

    async def stop(self) -> None:
        self._stop.set()
        await until(self.ended.is_set, LISTEN_SECONDS)

    def _run(self) -> None:
        try:
            with av.open(self._url, options={"listen": "1"}, timeout=(LISTEN_SECONDS, 10.0)) as container:
                self.film.codecs = [stream.codec_context.name for stream in container.streams]
                for frame in container.decode():
                    _take(self.film, frame)
                    if self._stop.is_set():
                        return
        except av.FFmpegError as error:  # also how a stream ends
            self.error = error
        finally:
            self.ended.set()


@dataclass
class Call:
    """What came with an offer, and what was received for it."""

    headers: dict[str, str]
    pc: RTCPeerConnection
    connect: OwnedConnect
    pictures: int = 0
    energy: float = 0.0
    samples: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def loudness(self) -> float:
        return (self.energy / self.samples) ** 0.5 if self.samples else 0.0

    async def close(self) -> None:
        await self.connect.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class WhipEndpoint:
    """answer: instead of a real one: status, body, headers."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    deleted: list[dict[str, str]] = field(default_factory=list)
    answer: tuple[int, str, dict[str, str]] | None = None

    async def post(self, request: web.Request) -> web.Response:
        offer = await request.text()
        if self.answer is not None:
            status, body, headers = self.answer
            self.calls.append(Call(dict(request.headers), pc := RTCPeerConnection(), OwnedConnect(pc)))
            return web.Response(status=status, text=body, headers=headers)
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        call = Call(dict(request.headers), pc, OwnedConnect(pc))
        self.calls.append(call)
        pc.on("track", lambda track: call.tasks.append(asyncio.ensure_future(drain(call, track))))
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        return web.Response(
            status=201,
            text=pc.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/whip/{len(self.calls)}"},
        )

    async def delete(self, request: web.Request) -> web.Response:
        self.deleted.append(dict(request.headers))
        return web.Response(status=200)


async def drain(call: Call, track: MediaStreamTrack) -> None:
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if isinstance(frame, av.VideoFrame):
            call.pictures += 1
        elif isinstance(frame, av.AudioFrame):
            samples = frame.to_ndarray().astype(np.float64) / 32768
            call.samples += samples.size
            call.energy += float((samples**2).sum())


@asynccontextmanager
async def whip_endpoint() -> AsyncIterator[WhipEndpoint]:
    endpoint = WhipEndpoint()
    app = web.Application()
    app.router.add_post("/whip", endpoint.post)
    app.router.add_delete("/whip/{id}", endpoint.delete)
    server = TestServer(app)
    await server.start_server()
    endpoint.url = str(server.make_url("/whip"))
    try:
        yield endpoint
    finally:
        for call in endpoint.calls:
            await call.close()
        await server.close()
