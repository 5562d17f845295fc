"""Every operation of the HTTP interface. A new route gets its Operation in the module of its area; tests see to it."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from server.openapi import (
    admin,
    avatars,
    livetalking,
    operating,
    outputs,
    recordings,
    records,
    sessions,
    tutors,
    webrtc,
)
from server.openapi.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *sessions.OPERATIONS,
    *avatars.OPERATIONS,
    *tutors.OPERATIONS,
    *records.OPERATIONS,
    *webrtc.OPERATIONS,
    *recordings.OPERATIONS,
    *outputs.OPERATIONS,
    *operating.OPERATIONS,
    *admin.OPERATIONS,
    *livetalking.OPERATIONS,
)

PAGES = frozenset({"/", "/teacher", "/admin", "/favicon.ico", "/static/{path}", "/docs", "/docs/{file}"})
"""Addresses of pages and their files, which are not described."""


def undescribed(app: web.Application) -> list[str]:
    """The routes that no operation describes, as "METHOD path". HEAD follows from GET; OPTIONS is the browser's."""
    known = {(operation.method, operation.path) for operation in OPERATIONS}
    return [f"{method} {path}" for method, path in routes(app) if (method, path) not in known]


def unreachable(app: web.Application) -> list[str]:
    """The operations that have no route."""
    there = set(routes(app))
    return [f"{each.method} {each.path}" for each in OPERATIONS if (each.method, each.path) not in there]


def routes(app: web.Application) -> Iterator[tuple[str, str]]:
    """Method and path of each route that an operation has to describe."""
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method not in ("HEAD", "OPTIONS") and path not in PAGES:
            yield route.method, path
