"""A stand-in for a language model's server: OpenAI's streaming format, with switches for delay, speed and failure.

`python -m tests.conversation.model_server PORT` serves it on loopback; `GET /requests` gives what it was asked,
`PUT /switches` changes how it answers from then on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

REPLY = (
    "Plants make their own food. They take in water through their roots, and carbon dioxide through small openings in "
    "their leaves. Sunlight gives them the energy to put both together. What comes out is sugar, which the plant uses "
    "to grow, and oxygen, which you and I breathe. Most of this happens in the leaves, because they hold a green "
    "pigment called chlorophyll."
)


@dataclass(frozen=True)
class Switches:
    """reply: what it says. first_token: seconds before the first piece. speed: pieces a second; 0: all at once.

    fail_after: pieces after which it fails; failure: "cut" (the connection breaks), "end" (the stream ends without a
    finish_reason), "stall" (nothing more comes), "empty" (nothing but empty pieces comes), "error" (an error object in
    the stream). wait_at: pieces after which it waits for `ModelServer.go`. status: of a refusal. escaped: its JSON is
    ASCII; a reply may then hold half characters.
    """

    reply: str = REPLY
    first_token: float = 0.0
    speed: float = 0.0
    fail_after: int | None = None
    failure: str = "cut"
    wait_at: int | None = None
    status: int = 200
    escaped: bool = False


@dataclass
class ModelServer:
    """Running at `url` (with /v1). asked: the bodies of the requests, in order; open: answers being written."""

    switches: Switches = Switches()
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    organizations: list[str | None] = field(default_factory=list)
    open: int = 0
    completed: int = 0
    hung_up: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/requests", self._requests)
        app.router.add_put("/switches", self._switch)
        return app

    async def _requests(self, request: web.Request) -> web.Response:
        counts = {"open": self.open, "completed": self.completed, "hung_up": self.hung_up}
        return web.json_response({"asked": self.asked, **counts})

    async def _switch(self, request: web.Request) -> web.Response:
        self.switches = dataclasses.replace(self.switches, **await request.json())
        return web.Response(status=204)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        self.organizations.append(request.headers.get("OpenAI-Organization"))
        switches = self.switches
        assert body["stream"] is True
        if switches.status != 200:
            return web.json_response({"error": {"message": "refused by switch", "code": "x"}}, status=switches.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self.open += 1
        try:
            await self._write(request, response, body["model"], switches)
            self.completed += 1
        except (ConnectionResetError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        finally:
            self.open -= 1
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, model: str, switches: Switches) -> None:
        began = time.monotonic()
        await response.prepare(request)
        await _send(response, model, {"role": "assistant", "content": ""})
        for number, piece in enumerate([*pieces(switches.reply), None]):
            due = began + switches.first_token + (number / switches.speed if switches.speed else 0.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if number == switches.wait_at:
                await self.go.wait()
            if number == switches.fail_after:
                match switches.failure:
                    case "cut":
                        assert request.transport is not None
                        request.transport.abort()
                        return
                    case "end":
                        break
                    case "error":
                        await response.write(b'data: {"error": {"message": "CUDA out of memory", "code": 500}}\n\n')
                        break
                    case "stall":
                        await asyncio.sleep(3600)
                    case "empty":
                        while True:
                            await _send(response, model, {"content": ""})
                            await asyncio.sleep(0.05)
            if piece is not None:
                await _send(response, model, {"content": piece}, escaped=switches.escaped)
        else:
            await _send(response, model, {}, "stop")
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()


def pieces(text: str) -> list[str]:
    """About as a tokenizer would cut it: a word with its space, long words in two or more."""
    return re.findall(r"\s*\S{1,7}", text)


async def _send(
    response: web.StreamResponse, model: str, delta: dict[str, Any], finish: str | None = None, *, escaped: bool = False
) -> None:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    await response.write(f"data: {json.dumps(chunk, ensure_ascii=escaped)}\n\n".encode())


@asynccontextmanager
async def model_server(port: int = 0, **switches: Any) -> AsyncIterator[ModelServer]:
    """Serve one on loopback for the length of the block."""
    server = ModelServer(Switches(**switches))
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


async def _serve(port: int) -> None:
    async with model_server(port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
