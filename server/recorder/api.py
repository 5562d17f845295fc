"""Recordings over HTTP: started, stopped, listed, downloaded and deleted, by who steers sessions; never by students."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from server.keys import RECORDER, SESSIONS
from server.paging import window
from server.problems import ProblemError
from server.recorder.record import TYPES, Record
from server.recorder.recorder import Recorder
from server.security import require_service
from server.sessions import Session, iso

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Filter(BaseModel):
    """The query of `GET /v1/recordings`, beside the page."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    session_id: Name | None = None
    student_id: Name | None = None
    tutor_id: Name | None = None


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/v1/sessions/{session_id}/recording", start),
            web.delete("/v1/sessions/{session_id}/recording", stop),
            web.get("/v1/recordings", show_all),
            web.get("/v1/recordings/{recording_id}", show),
            web.get("/v1/recordings/{recording_id}/file", download),
            web.delete("/v1/recordings/{recording_id}", delete),
        ]
    )


def shown(record: Record) -> dict[str, Any]:
    """A recording as the API shows it."""
    return {
        "recording_id": record.id,
        "session_id": record.session_id,
        "student_id": record.student_id,
        "tutor_id": record.tutor_id,
        "avatar_id": record.avatar_id,
        "state": record.state,
        "reason": record.reason,
        "format": record.format,
        "content_type": TYPES[record.format],
        "started_at": iso(record.started_at.timestamp()),
        "ended_at": iso(record.ended_at.timestamp()) if record.ended_at is not None else None,
        "seconds": record.seconds,
        "bytes": record.bytes,
        "lost": record.lost,
        "file_url": f"/v1/recordings/{record.id}/file",
    }


async def start(request: web.Request) -> web.Response:
    """201 with the recording."""
    session = _session(request)
    record = await request.app[RECORDER].begin(session)
    return web.json_response(shown(record), status=201, headers={"Location": f"/v1/recordings/{record.id}"})


async def stop(request: web.Request) -> web.Response:
    """200 with the recording, whole."""
    session = _session(request)
    return web.json_response(shown(await request.app[RECORDER].stop(session)))


async def show_all(request: web.Request) -> web.Response:
    require_service(request)
    recorder = request.app[RECORDER]
    page = window(request)
    wanted = Filter.model_validate(dict(request.query))
    found = recorder.all(session_id=wanted.session_id, student_id=wanted.student_id, tutor_id=wanted.tutor_id)
    items = [shown(record) for record in found[page.offset : page.offset + page.limit]]
    return web.json_response({**page.answer(len(found), items), "bytes": recorder.bytes})


async def show(request: web.Request) -> web.Response:
    require_service(request)
    return web.json_response(shown(request.app[RECORDER].find(request.match_info["recording_id"])))


async def download(request: web.Request) -> web.StreamResponse:
    """The film, or a Range of it; of one that still runs, what there is so far. 404 recording_empty."""
    require_service(request)
    recorder = request.app[RECORDER]
    return film(recorder, recorder.find(request.match_info["recording_id"]))


def film(recorder: Recorder, record: Record) -> web.StreamResponse:
    """A recording's film as an answer. 404 recording_empty."""
    if not record.bytes and record.state != "recording":
        raise ProblemError(404, "recording_empty", "Nothing was recorded: the session's picture never began.")
    name = f"{record.started_at:%Y-%m-%d-%H%M%S}-{record.id[:8]}.{record.format}"
    return web.FileResponse(
        recorder.shelf.film(record),
        chunk_size=1 << 18,
        headers={
            "Content-Type": TYPES[record.format],
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
        },
    )


async def delete(request: web.Request) -> web.Response:
    require_service(request)
    await request.app[RECORDER].delete(request.match_info["recording_id"])
    return web.Response(status=204)


def _session(request: web.Request) -> Session:
    require_service(request)
    return request.app[SESSIONS].get(request.match_info["session_id"])
