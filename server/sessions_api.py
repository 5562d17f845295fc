"""Sessions over HTTP: made, listed, spoken through, interrupted, measured and ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from server import speech
from server.bodies import Id, read_json
from server.keys import LISTENING, PEERS, RECORDER, RECORDS, RTC, SESSIONS, SETTINGS, STORE
from server.parts import persona_of
from server.problems import ProblemError
from server.records.errors import RecordsUnavailable
from server.records.patience import patience
from server.records.tutors import Tutor
from server.rtc.ice_servers import for_viewer
from server.security import require_service, require_teacher, session_of
from server.session_summary import summary, waiting
from server.sessions import Session, iso
from server.setting_groups import TutorSettings
from server.tutors import cast

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

NAME_SECONDS = 0.5  # for the name of a tutor, which can be done without


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class NewSession(_Body):
    """tutor_id or avatar_id, or both; then that avatar is shown. voice, persona, language: not the tutor's own.
    recording: record it from its beginning. wait: join the waiting line where there is no room.
    """

    student_id: Id
    tutor_id: Id | None = None
    avatar_id: Id | None = None
    kb_id: Id | None = None
    voice: Name | None = None
    wait: bool = False
    persona: Annotated[str, Field(min_length=1, max_length=8000)] | None = None
    language: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    recording: StrictBool = False


class Ask(_Body):
    text: Annotated[str, Field(min_length=1)]


class Say(_Body):
    text: Annotated[str, Field(min_length=1)]
    voice: Name | None = None


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/v1/sessions", create),
            web.get("/v1/sessions", show_all),
            web.get("/v1/sessions/{session_id}", show),
            web.delete("/v1/sessions/{session_id}", delete),
            web.post("/v1/sessions/{session_id}/ask", ask),
            web.post("/v1/sessions/{session_id}/say", say),
            web.post("/v1/sessions/{session_id}/audio", audio),
            web.post("/v1/sessions/{session_id}/interrupt", interrupt),
            web.get("/v1/sessions/{session_id}/stats", stats),
            web.get("/v1/sessions/{session_id}/preview.jpg", preview),
            web.get("/v1/webrtc/config", webrtc_config),
            web.get("/v1/voices", voices),
        ]
    )


async def create(request: web.Request) -> web.Response:
    require_teacher(request)
    body = await read_json(request, NewSession)
    if body.recording:
        require_service(request)
    session = await new_session(request.app, body)
    if body.recording:
        await _record(request.app, session)
    return made(request.app, session, _created(request.app, session), f"/v1/sessions/{session.id}")


def made(app: web.Application, session: Session, body: dict[str, Any], location: str | None = None) -> web.Response:
    """201 and the body; 202, with its place in the line, for one that waits. location: of what was made; None: 200."""
    headers = {} if location is None else {"Location": location}
    place = app[SESSIONS].place(session)
    if place is None:
        return web.json_response(body, status=200 if location is None else 201, headers=headers)
    if place.estimate is not None:
        headers["Retry-After"] = str(max(1, round(place.estimate)))
    body = {**body, **waiting(app[SESSIONS], session), "status": "waiting"}
    return web.json_response(body, status=202, headers=headers)


async def new_session(app: web.Application, body: NewSession) -> Session:
    """Perhaps one that waits. 422 invalid_request or unknown_voice, 404 and 409 of the avatar, 503 at_capacity."""
    if body.avatar_id is None and body.tutor_id is None:
        raise ProblemError(422, "invalid_request", "Name the tutor_id or the avatar_id that the session is with.")
    speech.check_voice(app, body.voice)
    found = await cast(app[STORE], app[RECORDS].tutors, avatar_id=body.avatar_id, tutor_id=body.tutor_id)
    tutor = found.tutor
    own = _own(app, body, tutor)
    return await app[SESSIONS].create(
        avatar_id=found.avatar.id,
        student_id=body.student_id,
        tutor_id=tutor.id if tutor is not None else body.tutor_id,
        kb_id=body.kb_id,
        voice=body.voice or own.voice,
        wait=body.wait,
        persona=persona_of(app[SETTINGS], *found.names, own=own),
    )


def _own(app: web.Application, body: NewSession, tutor: Tutor | None) -> TutorSettings:
    """What the request says, else the tutor's record."""
    if tutor is None:
        return TutorSettings(persona=body.persona, language=body.language)
    return TutorSettings(
        persona=body.persona or tutor.persona,
        language=body.language or tutor.language,
        voice=speech.usable_voice(app, tutor.voice),
        model=tutor.model,
    )


async def _record(app: web.Application, session: Session) -> None:
    """Or no session: whoever asks for a recording would not notice that there is none."""
    try:
        await app[RECORDER].begin(session)
    except ProblemError:
        await app[SESSIONS].end(session, "not_recorded")
        raise


def _created(app: web.Application, session: Session) -> dict[str, Any]:
    sessions = app[SESSIONS]
    return {
        "session_id": session.id,
        "engine_url": f"/ws/{session.id}?token={session.token}",
        "engine_token": session.token,
        "token_expires_at": iso(session.token_expires),
        "token_expires_in": max(0, round(session.token_expires - time.time())),
        "status": sessions.status(session),
        "whep_url": f"/v1/sessions/{session.id}/whep",
        "rtvi_url": f"/v1/sessions/{session.id}/rtvi?token={session.token}",
        **ice(app, session.id),
        "expires_at": iso(time.time() + sessions.remaining(session)),
        "avatar_id": session.avatar_id,
        "tutor_id": session.tutor_id,
        "student_id": session.student_id,
        "voice": session.voice,
        "mode": speech.mode(app),
        "listening": asdict(app[LISTENING].availability),
        "recording": session.recording_id is not None,
        "recording_id": session.recording_id,
    }


def _summary(app: web.Application, session: Session) -> dict[str, Any]:
    return summary(app[SESSIONS], session, app[PEERS].count(session.id))


async def show_all(request: web.Request) -> web.Response:
    require_service(request)
    sessions = request.app[SESSIONS]
    found = [_summary(request.app, session) for session in sessions.all()]
    return web.json_response(
        {
            "total": len(found),
            "max_sessions": sessions.limits.max_sessions,
            "waiting": sessions.waiting,
            "max_waiting": sessions.limits.max_waiting,
            "sessions": found,
        }
    )


async def show(request: web.Request) -> web.Response:
    """With fresh TURN credentials, for a page that makes its connection anew."""
    session = session_of(request)
    return web.json_response(
        {
            **_summary(request.app, session),
            **ice(request.app, session.id),
            "listening": asdict(request.app[LISTENING].availability),
            "tutor_name": await _tutor_name(request.app, session),
        }
    )


async def _tutor_name(app: web.Application, session: Session) -> str | None:
    try:
        with patience(NAME_SECONDS):
            tutor = await app[RECORDS].tutors.get(session.tutor_id) if session.tutor_id is not None else None
    except RecordsUnavailable:
        return None
    return tutor.name if tutor is not None else None


async def preview(request: web.Request) -> web.StreamResponse:
    """A still of the session's avatar, for a page that has the session's token and no key."""
    path = await asyncio.to_thread(request.app[STORE].preview, session_of(request).avatar_id)
    return web.FileResponse(path, headers={"Content-Type": "image/jpeg", "Cache-Control": "no-cache"})


async def delete(request: web.Request) -> web.Response:
    await request.app[SESSIONS].end(session_of(request), "deleted")
    return web.Response(status=204)


async def ask(request: web.Request) -> web.Response:
    session = session_of(request)
    body = await read_json(request, Ask)
    utterance = await speech.ask(request.app, session, body.text)
    return web.json_response({"utterance_id": utterance, "mode": speech.mode(request.app)}, status=202)


async def say(request: web.Request) -> web.Response:
    session = session_of(request)
    body = await read_json(request, Say)
    utterance = await speech.say(request.app, session, body.text, body.voice)
    return web.json_response({"utterance_id": utterance}, status=202)


async def audio(request: web.Request) -> web.Response:
    session = session_of(request)
    utterance = await speech.play_request(request, session)
    return web.json_response({"utterance_id": utterance}, status=202)


async def interrupt(request: web.Request) -> web.Response:
    session = session_of(request)
    return web.json_response({"generation": speech.interrupt(session)})


async def stats(request: web.Request) -> web.Response:
    session = session_of(request)
    live = session.live
    peers = [await entry.peer.stats() for entry in request.app[PEERS].of(session.id)]
    return web.json_response(
        {
            **_summary(request.app, session),
            "live": None if live is None else speech.stats(live),
            "connections": [asdict(peer) for peer in peers],
        }
    )


async def webrtc_config(request: web.Request) -> web.Response:
    """For pages that make their own peer; TURN credentials are in it, so it needs a key."""
    require_service(request)
    found = ice(request.app, "config")
    same = {"iceServers": found["ice_servers"], "iceTransportPolicy": found["ice_transport_policy"]}
    return web.json_response({**found, **same})


def ice(app: web.Application, name: str) -> dict[str, Any]:
    """What a viewer's peer needs: ice_servers, with credentials made now for `name`, and ice_transport_policy."""
    rtc = app[RTC]
    return {
        "ice_servers": for_viewer(rtc, name, time.time()),
        "ice_transport_policy": rtc.ice_transport_policy,
    }


async def voices(request: web.Request) -> web.Response:
    require_teacher(request)
    return web.json_response(speech.list_voices(request.app))
