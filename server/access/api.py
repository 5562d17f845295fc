"""A session's token, made anew over HTTP."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from server.keys import TOKENS
from server.security import session_of
from server.sessions import iso


def add_routes(app: web.Application) -> None:
    app.router.add_post("/v1/sessions/{session_id}/token", renew)


async def renew(request: web.Request) -> web.Response:
    """A fresh token for who has a good one, or a service's or an admin's key. The old one is good until it expires."""
    return web.json_response(granted(request.app, session_of(request).id))


def granted(app: web.Application, session_id: str) -> dict[str, Any]:
    """A fresh token with the addresses that carry it, as the API shows them."""
    token, expires = app[TOKENS].issue(session_id)
    return {
        "session_id": session_id,
        "engine_token": token,
        "token_expires_at": iso(expires),
        "token_expires_in": max(0, round(expires - time.time())),
        "engine_url": f"/ws/{session_id}?token={token}",
        "rtvi_url": f"/v1/sessions/{session_id}/rtvi?token={token}",
    }
