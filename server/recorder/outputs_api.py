"""Outputs over HTTP: a session sent on to RTMP and WHIP servers, by who steers sessions; never by students."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from server.bodies import read_json
from server.keys import OUTPUTS, SESSIONS
from server.recorder.output import Output
from server.recorder.targets import Kind
from server.security import require_service
from server.session import Session, iso

_PATH = "/v1/sessions/{session_id}/outputs"


class NewOutput(BaseModel):
    """url: rtmp(s)://host/app/key, or a WHIP endpoint's. token: the endpoint's bearer token (WHIP)."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    kind: Kind = Field(alias="type")
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    token: Annotated[SecretStr, Field(max_length=4000)] = SecretStr("")


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post(_PATH, start),
            web.get(_PATH, show_all),
            web.get(_PATH + "/{output_id}", show),
            web.delete(_PATH + "/{output_id}", stop),
        ]
    )


def shown(output: Output) -> dict[str, Any]:
    """An output as the API shows it: no key and no token in it."""
    error = output.last_error
    return {
        "output_id": output.id,
        "type": output.kind,
        "url": output.target.shown,
        "state": output.state,
        "attempts": output.attempts,
        "created_at": iso(output.created_at),
        "connected_at": None if output.connected_at is None else iso(output.connected_at),
        "last_error": None if error is None else {"code": error.code, "message": error.message, "at": iso(error.at)},
    }


async def start(request: web.Request) -> web.Response:
    """201; it connects by itself, see its state."""
    session = _session(request)
    body = await read_json(request, NewOutput)
    output = await request.app[OUTPUTS].begin(
        request.app[SESSIONS], session, body.kind, body.url, body.token.get_secret_value()
    )
    return web.json_response(shown(output), status=201, headers={"Location": f"{request.path}/{output.id}"})


async def show_all(request: web.Request) -> web.Response:
    found = [shown(output) for output in request.app[OUTPUTS].of(_session(request))]
    return web.json_response({"total": len(found), "outputs": found})


async def show(request: web.Request) -> web.Response:
    session = _session(request)
    return web.json_response(shown(request.app[OUTPUTS].find(session, request.match_info["output_id"])))


async def stop(request: web.Request) -> web.Response:
    session = _session(request)
    await request.app[OUTPUTS].stop(session, request.match_info["output_id"])
    return web.Response(status=204)


def _session(request: web.Request) -> Session:
    require_service(request)
    return request.app[SESSIONS].get(request.match_info["session_id"])
