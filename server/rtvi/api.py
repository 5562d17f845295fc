"""RTVI over HTTP, as @pipecat-ai/small-webrtc-transport does it: an offer as JSON by POST, candidates by PATCH."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, model_validator

from server.bodies import read_json
from server.keys import PEERS, RTC, SESSIONS
from server.problems import ProblemError
from server.rtc.ice_servers import for_viewer
from server.rtc.joining import join, refusal
from server.rtc.offer import MAX_CANDIDATES, BadOffer, read_offer
from server.rtc.registry import Entry, PeerRegistry
from server.rtvi.link import RESTARTED, Link
from server.security import address_of, require_service, session_of
from server.sessions import Session
from server.sessions_api import NewSession, made, new_session


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RtviOffer(_Body):
    """pc_id: of the connection that this offer is about; restart_pc: a new one is to take its place."""

    sdp: str
    type: Literal["offer"]
    pc_id: Annotated[str, Field(max_length=100)] | None = None
    restart_pc: bool = False


class RtviCandidate(_Body):
    candidate: Annotated[str, Field(max_length=2000)]


class RtviCandidates(_Body):
    pc_id: Annotated[str, Field(max_length=100)]
    candidates: Annotated[list[RtviCandidate], Field(max_length=MAX_CANDIDATES)]


class Start(_Body):
    """What a client's `startBot` sends: a new session, bare or as its `body`."""

    body: NewSession

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return value if isinstance(value, dict) and isinstance(value.get("body"), dict) else {"body": value}


def add_routes(app: web.Application, version: str) -> None:
    """version: the server's, for bot-ready."""
    endpoint = RtviEndpoint(version)
    app.router.add_post("/v1/sessions/{session_id}/rtvi", endpoint.post)
    app.router.add_patch("/v1/sessions/{session_id}/rtvi", endpoint.patch)
    app.router.add_post("/v1/rtvi/start", endpoint.start)
    # Where the clients look when all they were given by …/start is the session's id.
    app.router.add_post("/v1/rtvi/sessions/{session_id}/api/offer", endpoint.post_started)
    app.router.add_patch("/v1/rtvi/sessions/{session_id}/api/offer", endpoint.patch_started)


class RtviEndpoint:
    """The handlers. The first two need the session's token (Authorization or ?token=); those under /v1/rtvi a
    service's key, since the clients send there the headers they started with.
    """

    def __init__(self, version: str) -> None:
        self._version = version

    async def post(self, request: web.Request) -> web.Response:
        """200 with the answer. Problems of `join`; 404 viewer_not_found, 422 renegotiation_unsupported."""
        return await self._offer(request, session_of(request, token_only=True))

    async def patch(self, request: web.Request) -> web.Response:
        """200: the candidates were taken. 400 bad_sdp, 404 viewer_not_found."""
        return await self._candidates(request, session_of(request, token_only=True))

    async def post_started(self, request: web.Request) -> web.Response:
        return await self._offer(request, session_of(request))

    async def patch_started(self, request: web.Request) -> web.Response:
        return await self._candidates(request, session_of(request))

    async def start(self, request: web.Request) -> web.Response:
        """A new session, as `POST /v1/sessions` makes it; its body may stand in `body`. 202: it waits."""
        require_service(request)
        session = await new_session(request.app, (await read_json(request, Start)).body)
        servers = for_viewer(request.app[RTC], session.id, time.time())
        return made(request.app, session, {"sessionId": session.id, "iceConfig": {"iceServers": servers}})

    async def _offer(self, request: web.Request, session: Session) -> web.Response:
        body = await read_json(request, RtviOffer)
        peers = request.app[PEERS]
        if body.pc_id is not None and not body.restart_pc:
            entry = _entry(peers, session, body.pc_id)
            return _answer(entry, await _again(entry, body.sdp))
        if body.pc_id is not None:
            await peers.close_peer(session.id, body.pc_id, RESTARTED)
        link = Link(request.app, session, self._version, ready=body.pc_id is not None)
        entry, answer = await join(request.app[SESSIONS], peers, session, body.sdp, address_of(request), talk=link.open)
        return _answer(entry, answer)

    async def _candidates(self, request: web.Request, session: Session) -> web.Response:
        body = await read_json(request, RtviCandidates)
        entry = _entry(request.app[PEERS], session, body.pc_id)
        try:
            for each in body.candidates:
                await entry.peer.add_candidate(each.candidate)
        except BadOffer as error:
            raise refusal(error) from error
        return web.json_response({"status": "success"})


async def _again(entry: Entry, sdp: str) -> str:
    """The same offer, perhaps with more candidates: a client that waited for them in vain sends it once more."""
    peer = entry.peer
    try:
        offer = read_offer(sdp, listen=peer.offer is not None and peer.offer.microphone, data=True)
        if peer.offer is None or (offer.ufrag, offer.sections) != (peer.offer.ufrag, peer.offer.sections):
            raise ProblemError(
                422,
                "renegotiation_unsupported",
                "A connection cannot be changed here. Make a new one in its place (restart_pc).",
            )
        for candidate in offer.candidates:
            await peer.add_candidate(candidate)
    except BadOffer as error:
        raise refusal(error) from error
    return peer.answered


def _answer(entry: Entry, sdp: str) -> web.Response:
    return web.json_response({"sdp": sdp, "type": "answer", "pc_id": entry.id})


def _entry(peers: PeerRegistry, session: Session, pc_id: str) -> Entry:
    entry = peers.get(session.id, pc_id)
    if entry is None:
        raise ProblemError(404, "viewer_not_found", "There is no such connection; it may have ended. Make a new one.")
    return entry
