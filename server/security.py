"""Who may call: the API key, session tokens, the Origin and Host checks, and the headers that protect the pages."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from server.keys import SESSIONS, SETTINGS
from server.problems import Handler, ProblemError
from server.sessions import Session
from server.settings import ServerSettings, Settings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_CORS_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
_CORS_HEADERS = "Authorization, Content-Type, If-Match"
_CORS_EXPOSED = "Location, ETag, Link, Accept-Patch, Retry-After"


# -- keys and tokens ----------------------------------------------------------------------------------------------


def bearer(request: web.Request) -> str | None:
    """What follows "Authorization: Bearer", or None."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def token_of(request: web.Request) -> str | None:
    """A session's token: from the Authorization header, else from ?token= (browsers' WebSockets have no headers)."""
    return bearer(request) or request.query.get("token") or None


def require_manager(request: web.Request) -> None:
    """Let pass who may manage: everybody when no API key is configured, else who has it. 401 unauthorized."""
    if not _is_manager(request):
        raise ProblemError(
            401,
            "unauthorized",
            'This needs "Authorization: Bearer <server.api_key>".',
            headers={"WWW-Authenticate": "Bearer"},
        )


def require_admin(request: web.Request) -> None:
    """Let pass who runs the server: /v1/admin, /metrics, retention. 401 unauthorized, 403 forbidden."""
    require_manager(request)


def require_teacher(request: web.Request) -> None:
    """Let pass who makes avatars and tutors: teachers, the school's own server, admins. 401, 403."""
    require_manager(request)


def require_service(request: web.Request) -> None:
    """Let pass who starts and steers sessions: the school's own server, admins. 401, 403."""
    require_manager(request)


def session_of(request: web.Request, *, token_only: bool = False) -> Session:
    """The session in the address, for who has its token or may manage. 404 session_not_found, 401 wrong_token.

    token_only: managing is not enough (WHEP, WebSocket). A token that is wrong is refused in any case.
    """
    sessions = request.app[SESSIONS]
    session_id = request.match_info["session_id"]
    if not token_only and _is_manager(request) and (_api_key(request) or token_of(request) is None):
        return sessions.get(session_id)
    if _api_key(request) and not token_of(request):
        require_manager(request)
    return sessions.authorise(session_id, token_of(request))


def _api_key(request: web.Request) -> str:
    return request.app[SETTINGS].server.api_key.get_secret_value()


def _is_manager(request: web.Request) -> bool:
    key = _api_key(request)
    return not key or hmac.compare_digest((bearer(request) or "").encode(errors="surrogateescape"), key.encode())


# -- browsers of other sites --------------------------------------------------------------------------------------


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


# -- headers ------------------------------------------------------------------------------------------------------


def content_security_policy(settings: ServerSettings) -> str:
    """Everything from this server only; `allowed_origins` may show the pages in a frame."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            " ".join(("frame-ancestors 'self'", *settings.allowed_origins)),
        )
    )


def add_headers(settings: Settings) -> Any:
    """The signal handler that puts the protecting headers on every response, streams included."""
    policy = content_security_policy(settings.server)
    origins = settings.server.allowed_origins

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()"
        headers["Content-Security-Policy"] = policy
        # Pages are revalidated by their ETag; answers of the API are never kept.
        page = request.path in ("/", "/teacher", "/admin", "/docs") or request.path.startswith("/static/")
        headers.setdefault("Cache-Control", "no-cache" if page else "no-store")
        origin = request.headers.get("Origin")
        if origins:
            headers.add("Vary", "Origin")
        if origin in origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _CORS_EXPOSED

    return on_prepare
