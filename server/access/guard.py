"""The first thing that happens to a request, before its body is read: who sends it, and was that too often?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from server.access.addresses import Client, Network, client, trusts
from server.access.caller import CALLER, CLIENT, identify, token_of
from server.access.keys import Keys
from server.access.limiter import Kind, Limiter
from server.problems import Handler, ProblemError

log = structlog.get_logger(__name__)

DEAR: dict[tuple[str, str], Kind] = {
    ("POST", "/v1/sessions"): "sessions",
    ("POST", "/v1/rtvi/start"): "sessions",
    ("POST", "/offer"): "sessions",
    ("POST", "/v1/avatars"): "uploads",
    ("POST", "/v1/avatars/upload"): "uploads",
}
"""The routes that are counted on their own, too, since each call costs much."""

DEAR_FORMS: dict[tuple[str, str], Kind] = {("POST", "/v1/tutors"): "uploads"}
"""Those that cost much only where a form with a video comes."""


def guard(
    keys: Keys, limiter: Limiter, trusted: tuple[Network, ...], clock: Callable[[], float] = time.monotonic
) -> Any:
    """The middleware. trusted: proxies whose X-Forwarded-For is believed.

    A wrong key or token is counted, and once there were too many it is answered 429 instead of 401. A good one is let
    in all the same: nobody can shut others out of a server by sending wrong ones from an address that they share. The
    keys and tokens that the server makes cannot be guessed; server.api_key, which a person chose, is not even compared.
    """

    told = False

    def count(request: web.Request, sender: Client) -> None:
        """A wrong key or token. 429 too_many_requests: there were too many."""
        if token_of(request) is not None:
            instead = limiter.failed(sender.name, clock())
            if instead is not None:
                raise instead

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal told
        now = clock()
        sender = client(request.remote, request.headers.getall("X-Forwarded-For", ()), trusted)
        request[CLIENT] = sender
        if not told and "X-Forwarded-For" in request.headers and not sender.own and not trusts(request.remote, trusted):
            told = True
            log.warning(
                "forwarded_for_ignored",
                peer=request.remote,
                why="if this is your proxy, name it in access.trusted_proxies, or all it serves count as one address",
            )
        caller = identify(request, keys, lambda: limiter.may_try(sender.name, now))
        request[CALLER] = caller
        limiter.pass_or_429(_kind(request), _counted(sender), caller.key_id if caller is not None else None, now)
        try:
            response = await handler(request)
        except ProblemError as error:
            if error.status == 401 and error.code != "token_expired":
                count(request, sender)
            raise
        if response.status == 401:  # of a handler that answers in another form
            count(request, sender)
        return response

    return middleware


def _kind(request: web.Request) -> Kind:
    resource = request.match_info.route.resource
    if resource is None:
        return "requests"
    route = (request.method, resource.canonical)
    if route in DEAR_FORMS and request.content_type == "multipart/form-data":
        return DEAR_FORMS[route]
    return DEAR.get(route, "requests")


def _counted(sender: Client) -> str | None:
    """Programs of this machine are not: what they could do to it they can do without its server."""
    return None if sender.own else sender.name
