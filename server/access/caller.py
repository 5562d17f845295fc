"""Who sent a request, by what it shows."""

from __future__ import annotations

from aiohttp import web

from server.access.keys import Caller, Keys

_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

ANYBODY = Caller("admin", None)
"""Everybody who reaches a server that listens on this machine only and has no keys."""


def bearer(request: web.Request) -> str | None:
    """What follows "Authorization: Bearer", or None."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def token_of(request: web.Request) -> str | None:
    """A session's token: from the Authorization header, else from ?token= (browsers' WebSockets have no headers)."""
    return bearer(request) or request.query.get("token") or None


def by_proxy(request: web.Request) -> bool:
    """Whether a proxy says that it passes on somebody else's request."""
    return any(name in request.headers for name in _PROXIES)


def caller_of(request: web.Request, keys: Keys) -> Caller | None:
    """Whose key the request shows; ANYBODY where none is needed; None: it needs one and shows none that is known."""
    if not keys.needed:  # a proxy on this machine would let the whole world be "this machine"
        return None if by_proxy(request) else ANYBODY
    shown = bearer(request)
    if shown is None:
        return None
    found = keys.known(shown)
    if found is None and keys.is_api_key(shown):
        found = Caller("admin", "api_key", "server.api_key")
    return found
