"""A hub on loopback, with the faults of real ones."""

from __future__ import annotations

import asyncio
import hashlib
import threading

from aiohttp import web

from pipeline.hub.client import Patience

QUICK = Patience(connect=5, silence=5, pauses=(0.0, 0.0))


class StandInHub:
    """A hub as Hugging Face's answers: big files by way of another host, with their facts in the first answer.

    A file's fault is taken from `faults` at each transfer: "cut" sends half and breaks off, "flip" sends a wrong byte,
    a number is sent as the status.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str | int]] = {}
        self.transfers: list[tuple[str, int, int]] = []  # path, first byte, bytes sent
        self.tokens: dict[str, set[str | None]] = {"hub": set(), "store": set()}
        self.ports: list[int] = []
        self.ranges = True
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add(self, repo: str, path: str, content: bytes) -> None:
        self.files[f"{repo}/{path}"] = content

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runners = []
        for handler, route in ((self._resolve, "/{owner}/{name}/resolve/main/{path:.+}"), (self._store, "/{key:.+}")):
            app = web.Application()
            app.router.add_get(route, handler)
            runner = web.AppRunner(app)
            self._loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, "127.0.0.1", 0)
            self._loop.run_until_complete(site.start())
            self.ports.append(runner.addresses[0][1])
            runners.append(runner)
        self._ready.set()
        self._loop.run_forever()
        for runner in runners:
            self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        self.tokens["hub"].add(request.headers.get("Authorization"))
        where = request.match_info
        key = f"{where['owner']}/{where['name']}/{where['path']}"
        content = self.files.get(key)
        if content is None:
            raise web.HTTPNotFound
        if where["path"].endswith(".json"):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return await self._send(request, key, content, {"ETag": f'"{etag}"'})
        facts = {
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Location": f"http://127.0.0.1:{self.ports[1]}/{key}",
        }
        return web.Response(status=302, headers=facts)

    async def _store(self, request: web.Request) -> web.StreamResponse:
        self.tokens["store"].add(request.headers.get("Authorization"))
        key = request.match_info["key"]
        return await self._send(request, key, self.files[key], {"ETag": '"of-the-store-2"'})

    async def _send(
        self, request: web.Request, key: str, content: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        span = request.headers.get("Range", "") if self.ranges else ""
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), int(last or len(content) - 1) + 1
        asked = span == "bytes=0-0"
        faults = self.faults.get(key, [])
        fault = None if asked or not faults else faults.pop(0)
        if isinstance(fault, int):
            return web.Response(status=fault)
        body = content[start:end]
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        if span:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        response.content_length = len(body)
        await response.prepare(request)
        if fault == "cut":
            body = body[: len(body) // 2]
        elif fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        if not asked:
            self.transfers.append((key, start, len(body)))
        await response.write(body)
        if fault == "cut":
            assert request.transport is not None
            request.transport.close()
        return response
