"""LiveTalking's server-sent events of a session: an utterance starts, an utterance ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog
from aiohttp import web

from pipeline.events import Event, SpeechEnded, SpeechStarted
from server.event_ring import EventRing
from server.problems import ProblemError
from server.session import Session
from server.session_events import HEARTBEAT_SECONDS, MOST_READERS, SEND_SECONDS

log = structlog.get_logger(__name__)


def translated(event: Event) -> dict[str, Any] | None:
    """None: nothing that its clients know."""
    match event:
        case SpeechStarted():
            return {"status": "start", "text": event.text}
        case SpeechEnded():
            return {"status": "end", "text": event.heard}
    return None


async def follow(request: web.Request, session: Session) -> web.StreamResponse:
    """What happens from now on, until the session ends. 429 too_many_readers."""
    ring = session.events
    if ring.watchers >= MOST_READERS:
        raise ProblemError(429, "too_many_readers", f"{MOST_READERS} readers follow this session already.")
    with ring.watching() as changed:
        place = ring.last
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        try:
            await _send_all(response, ring, place, changed)
        except ConnectionResetError:
            log.debug("event_reader_gone", session=session.id)
        except TimeoutError:
            log.warning("event_reader_slow", session=session.id)
            if request.transport is not None:
                request.transport.abort()
    return response


async def _send_all(response: web.StreamResponse, ring: EventRing, place: int, changed: asyncio.Event) -> None:
    """TimeoutError: the reader takes no more."""
    while True:
        changed.clear()
        closed = ring.closed
        page = ring.after(place)
        place = page.before
        for each in page.events:
            place = each.id
            message = translated(each.event)
            if message is not None:
                await _send(response, f"data: {json.dumps(message, ensure_ascii=False)}\n\n")
        if place < ring.last:
            continue
        if closed:
            return
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await changed.wait()
        except TimeoutError:
            await _send(response, ": still here\n\n")


async def _send(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(text.encode())
