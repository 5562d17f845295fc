"""Browsers of other sites: the Origin and Host checks, and the preflights of friends."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from server.problems import Handler, ProblemError
from server.setting_groups import ServerSettings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_CORS_HEADERS = "Authorization, Content-Type, If-Match"


def browser_guard(settings: ServerSettings) -> Any:
    """Middleware: refuses foreign pages' state-changing calls and WebSockets, and foreign names of a loopback server.

    Also answers the preflight (OPTIONS) of the sites in `allowed_origins`.
    """
    loopback = is_loopback(settings.host)
    names = _LOOPBACK_NAMES | {name.lower() for name in settings.allowed_hosts}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")  # not request.host: without the header that asks the name service
        if loopback and _hostname(host) not in names:
            raise ProblemError(
                403,
                "forbidden_host",
                "This server listens on this machine only and is not known under this name; "
                "add the name to server.allowed_hosts if it should be.",
            )
        origin = request.headers.get("Origin")
        if origin is not None:
            friend = origin in settings.allowed_origins
            if request.method == "OPTIONS" and friend and "Access-Control-Request-Method" in request.headers:
                return web.Response(
                    status=204,
                    headers={
                        "Access-Control-Allow-Methods": _CORS_METHODS,
                        "Access-Control-Allow-Headers": _CORS_HEADERS,
                        "Access-Control-Max-Age": "600",
                    },
                )
            changes = request.method not in _SAFE_METHODS or "Upgrade" in request.headers
            if changes and not friend and not _same_origin(origin, host):
                raise ProblemError(
                    403,
                    "forbidden_origin",
                    "Pages of other sites may not call this server; add theirs to server.allowed_origins.",
                )
        return await handler(request)

    return middleware


def _same_origin(origin: str, host: str) -> bool:
    """Hosts and ports are compared, not the scheme: a proxy in front may speak TLS where this server does not."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # such as an address whose bracket is not closed
        return False


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
