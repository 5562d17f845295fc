"""LiveTalking's server-sent events of a session: an utterance starts, an utterance ends."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from pipeline.events import Event, SpeechEnded, SpeechStarted
from server.event_ring import Numbered
from server.session import Session
from server.session_events import stream


def translated(event: Event) -> dict[str, Any] | None:
    """None: nothing that its clients know."""
    match event:
        case SpeechStarted():
            return {"status": "start", "text": event.text}
        case SpeechEnded():
            return {"status": "end", "text": event.heard}
    return None


def _frame(each: Numbered) -> str | None:
    message = translated(each.event)
    return None if message is None else f"data: {json.dumps(message, ensure_ascii=False)}\n\n"


async def follow(request: web.Request, session: Session) -> web.StreamResponse:
    """What happens from now on, until the session ends. 429 too_many_readers."""
    return await stream(request, session, session.events.last, _frame)
