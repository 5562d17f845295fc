"""LiveTalking's routes on Lectern's sessions, recorder and speech."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from server import speech
from server.bodies import PartSource, next_part, read_form, read_json, stream_to_file, text_field
from server.keys import PEERS, RECORDER, RECORDINGS, SESSIONS, SETTINGS, STORE
from server.livetalking.answers import answering, ok
from server.livetalking.clients import Clients
from server.livetalking.events import follow
from server.problems import ProblemError
from server.recorder.api import film
from server.rtc.joining import join
from server.security import address_of, require_service
from server.session import Session
from server.sessions_api import Name, NewSession, new_session

Number = Annotated[str, Field(max_length=40)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class Offer(_Body):
    """avatar: instead of the setting's. student_id: not LiveTalking's. Its refaudio, reftext and custom_config mean
    nothing here.
    """

    sdp: str
    type: Literal["offer"]
    avatar: Name | None = None
    student_id: Name = "livetalking"


class Speech(_Body):
    voice: Name | None = None


class Human(_Body):
    """echo: say the text; chat: answer it."""

    sessionid: Number
    text: Annotated[str, Field(min_length=1)]
    type: Literal["echo", "chat"]
    interrupt: bool = False
    tts: Speech | None = None


class Named(_Body):
    sessionid: Number


class Record(Named):
    type: Literal["start_record", "end_record"]


def add_routes(app: web.Application) -> None:
    api = LiveTalking(Clients(app[SESSIONS]))
    app.add_routes(
        [
            web.post("/offer", answering(api.offer, _may_offer)),
            web.post("/human", answering(api.human)),
            web.post("/humanaudio", answering(api.human_audio)),
            web.post("/interrupt_talk", answering(api.interrupt_talk)),
            web.post("/is_speaking", answering(api.is_speaking)),
            web.post("/set_audiotype", answering(api.set_audiotype)),
            web.post("/record", answering(api.record, require_service)),
            web.get("/record/{sessionid}", answering(api.download, require_service)),
            web.get("/sse", answering(api.sse), allow_head=False),
        ]
    )
    app.on_cleanup.append(api.close)


class LiveTalking:
    """The handlers. Who knows a session's number may steer it; to make one, and to record, a key is needed where the
    server has any.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def close(self, app: web.Application) -> None:
        await self._clients.close()

    async def offer(self, request: web.Request) -> web.Response:
        """A new session and its only connection."""
        settings = request.app[SETTINGS].livetalking
        body = await read_json(request, Offer)
        avatar = body.avatar or settings.avatar or None
        tutor = None if avatar else settings.tutor or None
        if avatar is None and tutor is None:
            avatar = await _newest(request.app)
        session = await new_session(
            request.app, NewSession(student_id=body.student_id, avatar_id=avatar, tutor_id=tutor)
        )
        try:
            _, answer = await join(self._clients, request.app[PEERS], session, body.sdp, address_of(request))
        except BaseException:
            await request.app[SESSIONS].end(session, "never_joined")
            raise
        return web.json_response({"sdp": answer, "type": "answer", "sessionid": self._clients.number(session)})

    async def human(self, request: web.Request) -> web.Response:
        body = await read_json(request, Human)
        session = self._clients.session(body.sessionid)
        voice = body.tts.voice if body.tts is not None else None
        if body.interrupt:
            speech.interrupt(session)
        if body.type == "echo":
            await speech.say(request.app, session, body.text, voice)
        else:
            await speech.ask(request.app, session, body.text)
        return ok()

    async def human_audio(self, request: web.Request) -> web.Response:
        """The file may come before the number does: it is kept until then."""
        if request.content_type != "multipart/form-data":
            raise ProblemError(415, "unsupported_media_type", "Send a form (multipart/form-data) with a file.")
        limits = request.app[SETTINGS].sessions
        limit = limits.max_audio_mb << 20
        announced = request.content_length
        owner = f"livetalking {address_of(request)}"
        size = limit if announced is None else min(announced, limit)
        with request.app[RECORDINGS].take(owner, size, limits.max_audio_seconds) as place:
            session: Session | None = None
            reader = await read_form(request)
            for _ in range(10):
                part = await next_part(reader)
                if part is None:
                    break
                if part.name == "sessionid":
                    session = self._clients.session(await text_field(part))
                elif part.name == "file" and not place.clip.exists():
                    await stream_to_file(PartSource(part), place.clip, limit)
            if session is None or not place.clip.exists():
                raise ProblemError(422, "invalid_request", "The form needs a sessionid and a file.")
            await speech.play_clip(request.app, session, place, "")
        return ok()

    async def interrupt_talk(self, request: web.Request) -> web.Response:
        speech.interrupt(await self._named(request))
        return ok()

    async def is_speaking(self, request: web.Request) -> web.Response:
        live = (await self._named(request)).live
        return ok(live is not None and live.status == "speaking")

    async def set_audiotype(self, request: web.Request) -> web.Response:
        await self._named(request)
        raise ProblemError(501, "not_supported", "This server knows no custom actions (set_audiotype).")

    async def record(self, request: web.Request) -> web.Response:
        """Starting what runs, and ending what does not, are no failures there."""
        body = await read_json(request, Record)
        session = self._clients.session(body.sessionid)
        recorder = request.app[RECORDER]
        if body.type == "start_record" and session.recording_id is None:
            await recorder.begin(session)
        elif body.type == "end_record" and session.recording_id is not None:
            await recorder.stop(session)
        return ok()

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The newest film of a session, which may have ended."""
        session_id = self._clients.session_id(request.match_info["sessionid"])
        recorder = request.app[RECORDER]
        found = recorder.all(session_id=session_id)
        if not found:
            raise ProblemError(404, "recording_not_found", "This session was not recorded.")
        return film(recorder, found[0])

    async def sse(self, request: web.Request) -> web.StreamResponse:
        return await follow(request, self._clients.session(request.query.get("sessionid", "")))

    async def _named(self, request: web.Request) -> Session:
        return self._clients.session((await read_json(request, Named)).sessionid)


def _may_offer(request: web.Request) -> None:
    settings = request.app[SETTINGS].livetalking
    if not (settings.enabled and settings.open_offer):
        require_service(request)


async def _newest(app: web.Application) -> str:
    """The newest ready avatar."""
    records: Any = await asyncio.to_thread(app[STORE].list)
    ready = [record for record in records if record.state == "ready"]
    if not ready:
        raise ProblemError(404, "not_found", "There is no avatar yet; a teacher makes the first one at /teacher.")
    return str(max(ready, key=lambda record: record.created_at).id)
