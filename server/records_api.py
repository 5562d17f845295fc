"""What is kept of sessions, over HTTP: their figures, a student's transcripts, and how all of a student is deleted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web

from server.keys import RECORDER, RECORDS, SESSIONS, SETTINGS
from server.paging import window
from server.problems import ProblemError
from server.records.entries import clean
from server.records.errors import RecordsUnavailable
from server.records.patience import waiting
from server.records.sessions import Past, Turn, Wanted
from server.security import require_service

log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.5  # that a reader waits for what is on its way to the database
DELETE_SECONDS = 2.5  # the same, for who deletes: what comes later would stay


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.get("/v1/records/sessions", sessions),
            web.get("/v1/students/{student_id}/transcripts", transcripts),
            web.delete("/v1/students/{student_id}", delete_student),
        ]
    )


async def sessions(request: web.Request) -> web.Response:
    """Those that run and those that have run, the newest first."""
    require_service(request)
    part, wanted = window(request), _wanted(request)
    await _fresh(request.app)
    total, found = await request.app[RECORDS].sessions.page(wanted, limit=part.limit, offset=part.offset)
    return web.json_response(part.answer(total, [_past(each) for each in found]))


async def transcripts(request: web.Request) -> web.Response:
    """What was said in a student's sessions, the oldest first; of the tutor what was heard of it."""
    require_service(request)
    part, wanted = window(request), _wanted(request, clean(request.match_info["student_id"]))
    await _fresh(request.app)
    total, found = await request.app[RECORDS].sessions.turns(wanted, limit=part.limit, offset=part.offset)
    days = request.app[SETTINGS].records.retention_days
    return web.json_response({**part.answer(total, [_turn(each) for each in found]), "retention_days": days})


async def delete_student(request: web.Request) -> web.Response:
    """End the student's sessions and begin none meanwhile, delete every word and every recording of them, and the
    student's id where figures stay.
    """
    require_service(request)
    app, student_id = request.app, clean(request.match_info["student_id"])
    with app[SESSIONS].refusing_student(student_id) as running:
        for session in running:
            await app[SESSIONS].end(session, "student_deleted")
        try:
            async with waiting(DELETE_SECONDS):
                await app[RECORDS].journal.flush()
        except TimeoutError as error:
            raise RecordsUnavailable("what was said last could not be written, so it cannot be deleted yet") from error
        recordings = await app[RECORDER].delete_of_student(request.match_info["student_id"])
        gone = await app[RECORDS].sessions.forget(student_id)
    found = {"turns": gone.turns, "sessions": gone.sessions, "ended": len(running), "recordings": recordings}
    log.info("student_deleted", **found)
    return web.json_response(found)


async def _fresh(app: web.Application) -> None:
    """Let what was said until now come into the database first, if that is soon."""
    try:
        async with waiting(FRESH_SECONDS):
            await app[RECORDS].journal.flush()
    except TimeoutError:
        log.warning("records_read_early", waiting=app[RECORDS].journal.waiting)


def _past(session: Past) -> dict[str, Any]:
    fields = asdict(session)
    return {
        "session_id": fields.pop("id"),
        "status": "running" if session.ended_at is None else "ended",
        **fields,
        "started_at": session.started_at.isoformat(),
        "ended_at": None if session.ended_at is None else session.ended_at.isoformat(),
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {**asdict(turn), "at": turn.at.isoformat()}


def _wanted(request: web.Request, student_id: str | None = None) -> Wanted:
    """422 invalid_request. student_id: of the address, where it is there."""
    query = request.query

    def name(key: str) -> str | None:
        return clean(query[key]) if query.get(key) else None

    return Wanted(
        session_id=name("session_id"),
        student_id=name("student_id") if student_id is None else student_id,
        tutor_id=name("tutor_id"),
        since=_moment(query.get("since"), "since"),
        until=_moment(query.get("until"), "until"),
    )


def _moment(text: str | None, name: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProblemError(
            422, "invalid_request", f"{name}: write a time like 2026-01-31T12:00:00Z (a + in an address is %2B)."
        ) from error
