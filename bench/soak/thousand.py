"""A thousand sessions made and ended: what the server holds afterwards is what it held before."""

from __future__ import annotations

import asyncio

import aiohttp

from bench.figures import Figure
from bench.serving import Server, Session
from bench.soak.held import held
from bench.soak.watcher import watching

AT_ONCE = 3
PICTURE_SECONDS = 20.0
ALLOWED = 0.02


async def measure(server: Server, avatar_id: str, count: int, warm: int) -> list[Figure]:
    """warm: sessions before the first look, so that caches, pools and threads are there."""
    await _come_and_go(server, avatar_id, warm)
    before = await asyncio.to_thread(held, server)
    await _come_and_go(server, avatar_id, count)
    after = await asyncio.to_thread(held, server)
    total = server.call("GET", "/v1/sessions")["total"]
    return [
        Figure("sessions made and ended", "", f"{count}", None, f"after {warm} that warmed up; {total} left"),
        _change("memory", before.memory, after.memory, "MB"),
        _change("file descriptors", before.files, after.files),
        Figure("threads after them", "", f"{before.threads} → {after.threads}", None, "pools grow up to their limits"),
        _change("tasks of the event loop", before.tasks, after.tasks),
    ]


def _change(what: str, before: float, after: float, unit: str = "") -> Figure:
    """Growth counts; what has become less is no loss."""
    change = after / before - 1
    value = f"{before:.1f} → {after:.1f} {unit}".replace(".0 ", " ").strip() if unit else f"{before} → {after}"
    return Figure(f"{what} after them", "± 2 %", value, change <= ALLOWED, f"{change:+.1%}")


async def _come_and_go(server: Server, avatar_id: str, count: int) -> None:
    room = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http, asyncio.TaskGroup() as group:
        for number in range(count):
            await room.acquire()
            task = group.create_task(_one(server, http, avatar_id, number))
            task.add_done_callback(lambda done: room.release())


async def _one(server: Server, http: aiohttp.ClientSession, avatar_id: str, number: int) -> None:
    """Of ten sessions one is watched and speaks, one is spoken to by WebSocket, the others only begin and end."""
    session = await asyncio.to_thread(server.session, avatar_id)
    if number % 10 == 0:
        async with watching(http, session) as seen:
            await asyncio.to_thread(server.say, session, f"This is session number {number}.")
            async with asyncio.timeout(PICTURE_SECONDS):
                while len(seen.pictures) < 25:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    elif number % 10 == 5:
        await _talk(http, session)
    await asyncio.to_thread(server.call, "DELETE", f"/v1/sessions/{session.id}")


async def _talk(http: aiohttp.ClientSession, session: Session) -> None:
    async with http.ws_connect(session.socket) as socket:
        await socket.send_json({"type": "init"})
        await socket.send_json({"type": "text", "text": "Good morning."})
        async with asyncio.timeout(PICTURE_SECONDS):
            async for message in socket:
                if message.json()["type"] == "speech_started":
                    break
