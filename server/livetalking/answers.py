"""The shape of LiveTalking's answers: `code` 0 and perhaps `data`, or -1 and `msg`; a failure has its status, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from aiohttp import web

from server.keys import SETTINGS
from server.problems import ProblemError, as_problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ok(data: Any = None) -> web.Response:
    body: dict[str, Any] = {"code": 0, "msg": "ok"}
    if data is not None:
        body["data"] = data
    return web.json_response(body)


def failed(problem: ProblemError) -> web.Response:
    """`error` is the stable code of the same failure elsewhere."""
    body = {"code": -1, "msg": problem.detail, "error": problem.code}
    return web.json_response(body, status=problem.status, headers=problem.headers)


def answering(handler: Handler, check: Callable[[web.Request], object] | None = None) -> Handler:
    """A handler whose problems are answered so; all of them while the interface is off. check: who may call it."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            if check is not None:
                check(request)
            if not request.app[SETTINGS].livetalking.enabled:
                raise ProblemError(
                    404, "livetalking_off", "LiveTalking's interface is off on this server (livetalking.enabled)."
                )
            return await handler(request)
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                raise
            return failed(problem)

    return answer
