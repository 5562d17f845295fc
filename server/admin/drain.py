"""/v1/admin/drain: take the server out of service, see how far that is, take it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from server.bodies import read_json
from server.drain import DrainState
from server.keys import DRAIN
from server.security import require_admin
from server.session import iso


class Draining(BaseModel):
    """POST /v1/admin/drain. seconds: until the sessions that still run are ended; null: they end as they like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: Annotated[float, Field(ge=0, le=86_400, strict=True)] | None = None


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/v1/admin/drain", start),
            web.get("/v1/admin/drain", show),
            web.delete("/v1/admin/drain", take_back),
        ]
    )


async def start(request: web.Request) -> web.Response:
    """No new sessions from now on; a body is optional. While it drains: another end."""
    require_admin(request)
    order = await read_json(request, Draining) if request.body_exists else Draining()
    drain = request.app[DRAIN]
    drain.start(order.seconds)
    return web.json_response(described(drain.state))


async def show(request: web.Request) -> web.Response:
    require_admin(request)
    return web.json_response(described(request.app[DRAIN].state))


async def take_back(request: web.Request) -> web.Response:
    """New sessions are taken again. 409 stopping: the process is being stopped."""
    require_admin(request)
    drain = request.app[DRAIN]
    await drain.take_back()
    return web.json_response(described(drain.state))


def described(state: DrainState) -> dict[str, object]:
    return {**asdict(state), "since": iso(state.since) if state.since is not None else None}
