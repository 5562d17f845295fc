"""A session's events as server-sent events, for servers: `GET /v1/sessions/{id}/events`, resumed by Last-Event-ID."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from server.access.streams import while_key_is_good
from server.event_ring import EventRing, Numbered
from server.keys import SESSIONS
from server.problems import ProblemError
from server.security import session_of
from server.session import Session

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0  # a comment when nothing else was sent: proxies keep the line, a vanished reader is noticed
SEND_SECONDS = 5.0  # a reader that takes no more for so long is cut off; it may come back with its Last-Event-ID
MOST_READERS = 8  # of one session
RETRY_MS = 1000  # how soon EventSource comes back


def add_routes(app: web.Application) -> None:
    app.router.add_get("/v1/sessions/{session_id}/events", events, allow_head=False)


async def events(request: web.Request) -> web.StreamResponse:
    """Ends with the session, after a `session_ended`. A reader keeps no session awake, but a place in the waiting line.
    400 bad_request for a Last-Event-ID that is no number, 429 too_many_readers.
    """
    session = session_of(request)
    ring, sessions = session.events, request.app[SESSIONS]
    place = _place(request, ring)

    def opening() -> str:
        news = sessions.news(session) if place == ring.last else None
        return f"retry: {RETRY_MS}\n\n" + ("" if news is None else encode(news.as_message(), None))

    with sessions.following(session):
        return await stream(
            request, session, place, lambda each: encode(each.event.as_message(), each.id), opening=opening, gap=_gap
        )


async def stream(
    request: web.Request,
    session: Session,
    place: int,
    frame: Callable[[Numbered], str | None],
    *,
    opening: Callable[[], str] = str,
    gap: Callable[[int, int], str] | None = None,
) -> web.StreamResponse:
    """A session's events after `place` until it ends, as the text that `frame` makes of each (None: nothing).

    opening: asked for once the answer has begun. gap: of how many events are not kept any more, up to which.
    429 too_many_readers.
    """
    ring = session.events
    if ring.watchers >= MOST_READERS:
        raise ProblemError(
            429,
            "too_many_readers",
            f"{MOST_READERS} readers follow this session already.",
            headers={"Retry-After": "10"},
        )
    with ring.watching() as changed, while_key_is_good(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        try:
            await _send(response, opening())
            await _follow(response, ring, place, changed, frame, gap)
        except ConnectionResetError:
            log.debug("event_reader_gone", session=session.id)
        except TimeoutError:
            log.warning("event_reader_slow", session=session.id)
            if request.transport is not None:
                request.transport.abort()
    return response


async def _follow(
    response: web.StreamResponse,
    ring: EventRing,
    place: int,
    changed: asyncio.Event,
    frame: Callable[[Numbered], str | None],
    gap: Callable[[int, int], str] | None,
) -> None:
    """Until the ring is closed. TimeoutError: the reader takes no more."""
    while True:
        changed.clear()
        closed = ring.closed
        page = ring.after(place)
        if page.missed and gap is not None:
            await _send(response, gap(page.missed, page.before))
        place = page.before
        for each in page.events:
            await _send(response, frame(each))
            place = each.id
        if place < ring.last:
            continue
        if closed:
            return
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await changed.wait()
        except TimeoutError:
            await _send(response, ": still here\n\n")


async def _send(response: web.StreamResponse, text: str | None) -> None:
    if text:
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(text.encode())


def encode(message: dict[str, Any], number: int | None) -> str:
    """One server-sent event; its name is the message's type, its data the message in one line of JSON."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {message['type']}\ndata: {json.dumps(message, ensure_ascii=False)}\n\n"


def _gap(missed: int, before: int) -> str:
    """`missed` events, the last of them `before`, came and are not kept any more."""
    return encode({"type": "gap", "missed": missed}, before)


def _place(request: web.Request, ring: EventRing) -> int:
    """The number that the reader saw last, from the header or ?last_event_id=; without one it reads what is new."""
    given = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    if not given:
        return ring.last
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise ProblemError(400, "bad_request", "Last-Event-ID is the number of an event, as its id gave it.")
    return int(given)
