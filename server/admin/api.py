"""/v1/admin/: what an operator sees, and the few things that an operator does. For admins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from server import traces
from server.admin import configuration, parts, storage
from server.admin.capacity import capacity
from server.admin.pictures import Thumbnails, shown_by
from server.admin.storage import Prune
from server.bodies import read_json
from server.keys import PEERS, PULSE, RECORDS, SESSIONS, SETTINGS, STORE, TRACES
from server.problems import ProblemError
from server.records.errors import RecordsUnavailable
from server.security import require_admin
from server.session_summary import summary
from server.sessions import Session
from server.traces import KEPT

STOPPED = "stopped_by_operator"


def add_routes(app: web.Application) -> None:
    admin = _Admin()
    app.add_routes(
        [
            web.get("/v1/admin/sessions", show_sessions),
            web.get("/v1/admin/sessions/{session_id}", show_session),
            web.delete("/v1/admin/sessions/{session_id}", stop_session),
            web.get("/v1/admin/sessions/{session_id}/thumbnail.jpg", admin.thumbnail),
            web.get("/v1/admin/capacity", show_capacity),
            web.get("/v1/admin/engines", show_engines),
            web.get("/v1/admin/voices", show_voices),
            web.get("/v1/admin/avatars/builds", show_builds),
            web.post("/v1/admin/avatars/prune", admin.prune),
            web.get("/v1/admin/storage", show_storage),
            web.get("/v1/admin/config", show_config),
            web.get("/v1/admin/turns", show_turns),
        ]
    )


class _Admin:
    """What is kept between two requests."""

    def __init__(self) -> None:
        self._thumbnails = Thumbnails()
        self._pruning = asyncio.Lock()

    async def thumbnail(self, request: web.Request) -> web.Response:
        """The session's present picture. 404 session_not_found, no_picture."""
        require_admin(request)
        session = request.app[SESSIONS].get(request.match_info["session_id"])
        return web.Response(body=await self._thumbnails.of(session), content_type="image/jpeg")

    async def prune(self, request: web.Request) -> web.Response:
        """Delete, or with dry_run (the default) only name, the avatars that nobody has used for long."""
        require_admin(request)
        order = await read_json(request, Prune)
        app = request.app
        async with self._pruning:
            in_use = {session.avatar_id for session in app[SESSIONS].all()}
            tutors = [] if order.include_linked else await app[RECORDS].tutors.links()
            pruned = await asyncio.to_thread(storage.prune, app[STORE], order, in_use=in_use, tutors=tutors)
        return web.json_response(storage.described_prune(order, pruned))


# -- sessions -----------------------------------------------------------------------------------------------------


async def show_sessions(request: web.Request) -> web.Response:
    require_admin(request)
    app = request.app
    sessions = app[SESSIONS].all()
    names = await _tutor_names(app, sessions)
    found = [described(app, session, names) for session in sessions]
    return web.json_response({"total": len(found), "sessions": found})


async def show_session(request: web.Request) -> web.Response:
    require_admin(request)
    session = request.app[SESSIONS].get(request.match_info["session_id"])
    return web.json_response(described(request.app, session, await _tutor_names(request.app, [session])))


async def stop_session(request: web.Request) -> web.Response:
    """204; its student is told that the session has ended."""
    require_admin(request)
    sessions = request.app[SESSIONS]
    await sessions.end(sessions.get(request.match_info["session_id"]), STOPPED)
    return web.Response(status=204)


async def _tutor_names(app: web.Application, sessions: Sequence[Session]) -> dict[str, str]:
    """By the tutor's id. Sessions are shown without a database, too."""
    if not any(session.tutor_id for session in sessions):
        return {}
    try:
        return {link.id: link.name for link in await app[RECORDS].tutors.links()}
    except RecordsUnavailable:
        return {}


def described(app: web.Application, session: Session, names: Mapping[str, str]) -> dict[str, Any]:
    """A session for operators: as everybody sees it, and its figures (None while it sleeps)."""
    return {
        **summary(app[SESSIONS], session, app[PEERS].count(session.id)),
        "tutor_name": names.get(session.tutor_id or ""),
        "seconds": round(time.time() - session.created_at, 1),
        "doing": _doing(session),
        "picture": shown_by(session) is not None,
        "figures": _figures(app, session),
    }


def _doing(session: Session) -> str | None:
    """What the tutor does now, as `processing_status` tells it."""
    return session.conversation.status if session.conversation is not None else None


def _figures(app: web.Application, session: Session) -> dict[str, Any] | None:
    if session.live is None:
        return None
    stats, pulse = session.live.stats(), app[PULSE]
    link = pulse.link(session.id)
    sounded = app[TRACES].say_to_sound(session.id)
    return {
        "fps": pulse.fps(session.id),
        "pictures": stats.pictures,
        "pictures_skipped": stats.pictures_skipped,
        "mouths": stats.mouths,
        "mouths_late": stats.mouths_late,
        "mouths_failed": stats.mouths_failed,
        "stalls": stats.stalls,
        "underruns": stats.underruns,
        "overflows": stats.overflows,
        "draw_ms": stats.draw_ms,
        "encode_ms": stats.encode_ms,
        "mouth_ms": stats.mouth_ms,
        "release_late_ms": stats.release_late_ms,
        "queue_ms": max(stats.video_queue * 40, stats.audio_queue * 20),
        "bitrate": stats.bitrate,
        "sent_bitrate": stats.sent_bitrate,
        "rtt_ms": None if link.rtt is None else round(link.rtt * 1000, 1),
        "loss": None if link.loss is None else round(link.loss, 4),
        "say_to_sound_ms": None if sounded is None else round(sounded * 1000),
    }


# -- the server ---------------------------------------------------------------------------------------------------


async def show_capacity(request: web.Request) -> web.Response:
    require_admin(request)
    return web.json_response(await capacity(request.app))


async def show_engines(request: web.Request) -> web.Response:
    require_admin(request)
    found = await parts.engines(request.app)
    return web.json_response({"total": len(found), "engines": found})


async def show_voices(request: web.Request) -> web.Response:
    require_admin(request)
    return web.json_response(parts.voices(request.app))


async def show_builds(request: web.Request) -> web.Response:
    require_admin(request)
    return web.json_response(await storage.builds(request.app))


async def show_storage(request: web.Request) -> web.Response:
    require_admin(request)
    return web.json_response(await storage.storage(request.app))


async def show_config(request: web.Request) -> web.Response:
    """Without secrets."""
    require_admin(request)
    return web.json_response(configuration.shown(request.app[SETTINGS]))


async def show_turns(request: web.Request) -> web.Response:
    """The newest first; ?limit= of them, ?session_id= of one session."""
    require_admin(request)
    given = request.query.get("limit", "50")
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:6]) <= KEPT):
        raise ProblemError(400, "bad_request", f"limit is a number from 1 to {KEPT}.")
    found = request.app[TRACES].newest(int(given), request.query.get("session_id"))
    return web.json_response({"total": len(found), "turns": [traces.described(each) for each in found]})
