"""Logs: one line an event, for people or as JSON; requests by their route, so that no token gets in."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
from aiohttp import web
from structlog.typing import Processor

from server.access.caller import CALLER
from server.log_context import about
from server.problems import Handler, route_of
from server.setting_groups import ServerSettings
from server.sparing import Sparing, UnreadableRequests

log = structlog.get_logger(__name__)

_QUIET = frozenset({"/health", "/static/{path}"})
_REFUSALS = Sparing()
_OURS = ("server", "pipeline", "avatars")


def configure(settings: ServerSettings) -> None:
    """Send structlog's and the libraries' lines to standard error, in one form."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = settings.log_format == "json"
    render: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    last: list[Processor] = [structlog.processors.format_exc_info, render] if as_json else [render]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # At debug, libraries tell what passes through them: questions to the model, rows of the database. Never in our log.
    root.setLevel(max(level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger("aiohttp.server").addFilter(UnreadableRequests())
    for name in ("aioice", "aiortc", "alembic", "libav", "asyncio"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


@web.middleware
async def request_log(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line a request, after it: method, route, status, milliseconds. Of refusals in great numbers only some."""
    start = time.monotonic()
    status: int | str = "aborted"
    try:
        with _about(request):
            response = await handler(request)
        status = response.status
        return response
    finally:
        left_out = _REFUSALS.take(time.monotonic()) if isinstance(status, int) and 400 <= status < 500 else 0
        if left_out is not None:
            _tell(request, status, start, left_out)


def _tell(request: web.Request, status: int | str, start: float, left_out: int) -> None:
    route = route_of(request)
    fields: dict[str, Any] = {
        "method": request.method,
        "route": route,
        "status": status,
        "ms": round((time.monotonic() - start) * 1000, 1),
    }
    for key in ("session_id", "avatar_id"):
        name = _named(request, key)
        if name is not None:
            fields[key.removesuffix("_id")] = name
    caller = request.get(CALLER)
    if caller is not None and caller.key_id is not None:
        fields["key"] = caller.key_id
    if left_out:
        fields["refusals_left_out"] = left_out
    quiet = route in _QUIET and status in (200, 304)
    (log.debug if quiet else log.info)("request", **fields)


def _about(request: web.Request) -> AbstractContextManager[None]:
    """What a request for a session logs, and every task that it begins, carries the session's id."""
    session = _named(request, "session_id")
    return nullcontext() if session is None else about(session)


def _named(request: web.Request, key: str) -> str | None:
    """An id in the address, as it may be logged."""
    name = request.match_info.get(key)
    return name if name is None or (name.isprintable() and len(name) <= 64) else "(not an id)"
