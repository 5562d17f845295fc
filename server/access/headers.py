"""The headers that protect the pages, on every answer."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from server.setting_groups import ServerSettings
from server.settings import Settings

_CORS_EXPOSED = "Location, ETag, Link, Accept-Patch, Retry-After"


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
        headers["Server"] = "Lectern"  # no version: it would tell which holes to try
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
