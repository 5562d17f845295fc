"""WHEP (draft-ietf-wish-whep): a viewer's offer by HTTP POST, its candidates by PATCH, its leaving by DELETE.

CORS is the whole server's matter (server/security.py), errors are problem+json (server/problems.py).
"""

from __future__ import annotations

import time

from aiohttp import web

from server.bodies import BodySource, read_limited
from server.problems import ProblemError
from server.rtc.ice_servers import for_viewer, links
from server.rtc.joining import SessionLookup, join, refusal
from server.rtc.offer import MAX_CHARS, BadOffer, read_fragment
from server.rtc.registry import Entry, PeerRegistry
from server.security import address_of, bearer

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


def add_whep_routes(
    app: web.Application, sessions: SessionLookup, peers: PeerRegistry, path: str = "/v1/sessions/{session_id}/whep"
) -> None:
    """POST and OPTIONS on `path`; PATCH, DELETE and OPTIONS on `path`/{peer_id}, which the Location header names.

    Every one but OPTIONS needs the session's engine_token as "Authorization: Bearer …".
    """
    endpoint = WhepEndpoint(sessions, peers)
    app.router.add_post(path, endpoint.post)
    app.router.add_options(path, endpoint.options)
    app.router.add_patch(path + "/{peer_id}", endpoint.patch)
    app.router.add_delete(path + "/{peer_id}", endpoint.delete)
    app.router.add_options(path + "/{peer_id}", endpoint.options_of_peer)


class WhepEndpoint:
    """The handlers. The ETag names the ICE session; as ICE cannot be restarted, it never changes."""

    def __init__(self, sessions: SessionLookup, peers: PeerRegistry) -> None:
        self._sessions = sessions
        self._peers = peers

    async def post(self, request: web.Request) -> web.Response:
        """201 with the answer. 400 and 422 for offers that cannot be answered, 415, 503 when there is no room."""
        session = self._sessions.authorise(request.match_info["session_id"], bearer(request))
        offer = await _body(request, SDP)
        entry, answer = await join(self._sessions, self._peers, session, offer, address_of(request))
        response = web.Response(status=201, body=answer.encode(), content_type=SDP)
        response.headers["Location"] = f"{request.path}/{entry.id}"
        response.headers["ETag"] = entry.tag
        response.headers["Accept-Patch"] = FRAGMENT
        for link in links(for_viewer(self._peers.settings, session.id, time.time())):
            response.headers.add("Link", link)
        return response

    async def patch(self, request: web.Request) -> web.Response:
        """204: the candidates were taken. 428 without If-Match, 412 for another ICE session's, 422 for a restart."""
        entry = self._entry(request)
        wanted = request.headers.get("If-Match", "").strip()
        if not wanted:
            raise ProblemError(428, "etag_required", "Send the ETag of the answer as If-Match.")
        fragment = await _body(request, FRAGMENT)
        try:
            ufrag, candidates = read_fragment(fragment)
            offer = entry.peer.offer
            if ufrag and offer is not None and ufrag != offer.ufrag:
                raise ProblemError(
                    422,
                    "ice_restart_unsupported",
                    "ICE cannot be restarted here. Make a new connection with a new offer, then DELETE this one.",
                )
            if wanted != "*" and entry.tag not in [tag.strip() for tag in wanted.split(",")]:
                raise ProblemError(412, "etag_mismatch", "If-Match is not the ETag of this connection.")
            for candidate in candidates:
                await entry.peer.add_candidate(candidate)
        except BadOffer as error:
            raise refusal(error) from error
        return web.Response(status=204, headers={"ETag": entry.tag})

    async def delete(self, request: web.Request) -> web.Response:
        """200: the connection has gone and everything of it is freed."""
        entry = self._entry(request)
        await self._peers.close_peer(entry.session_id, entry.id)
        return web.Response(status=200)

    async def options(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Allow": "POST, OPTIONS", "Accept-Post": SDP})

    async def options_of_peer(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Allow": "PATCH, DELETE, OPTIONS", "Accept-Patch": FRAGMENT})

    def _entry(self, request: web.Request) -> Entry:
        session = self._sessions.authorise(request.match_info["session_id"], bearer(request))
        entry = self._peers.get(session.id, request.match_info["peer_id"])
        if entry is None:
            raise ProblemError(
                404, "viewer_not_found", "There is no such connection; it may have ended. Make a new one."
            )
        return entry


async def _body(request: web.Request, kind: str) -> str:
    if request.content_type != kind:
        raise ProblemError(415, "unsupported_media_type", f"Send Content-Type: {kind}.", headers={"Accept": kind})
    body = await read_limited(BodySource(request), MAX_CHARS, request.content_length)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError(400, "bad_sdp", "The body is not UTF-8 text.") from error
