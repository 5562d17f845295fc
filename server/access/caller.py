"""Who sent a request, by what it shows."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from server.access.addresses import Client
from server.access.keys import Caller, Keys

CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)
"""Whose address the request comes from; server.access.guard puts it there."""

CALLER: web.RequestKey[Caller | None] = web.RequestKey("caller", Caller)
"""Whose key it shows; None: nobody's. Likewise."""

ANYBODY = Caller("admin", None)
"""Everybody who reaches a server that listens on this machine only and has no keys."""

_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def bearer(request: web.Request) -> str | None:
    """What follows "Authorization: Bearer", or None."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def token_of(request: web.Request) -> str | None:
    """A session's token: from the Authorization header, else from ?token= (browsers' WebSockets have no headers)."""
    return bearer(request) or request.query.get("token") or None


def address_of(request: web.Request) -> str | None:
    """The address of who sent it; where proxies of ours passed it on, the one they name."""
    client = request.get(CLIENT)
    return client.address if client is not None else request.remote


def by_proxy(request: web.Request) -> bool:
    """Whether a proxy says that it passes on somebody else's request."""
    return any(name in request.headers for name in _PROXIES)


def identify(request: web.Request, keys: Keys, may_guess: Callable[[], bool] = lambda: True) -> Caller | None:
    """Whose key the request shows; ANYBODY where none is needed; None: it needs one and shows none that is known.

    may_guess: whether its sender may try server.api_key, which, unlike the other keys, somebody may have made up.
    """
    if not keys.needed:  # a proxy on this machine would let the whole world be "this machine"
        return None if by_proxy(request) else ANYBODY
    shown = bearer(request)
    if shown is None:
        return None
    found = keys.known(shown)
    if found is None and keys.has_api_key and may_guess() and keys.is_api_key(shown):
        found = Caller("admin", "api_key", "server.api_key")
    return found
