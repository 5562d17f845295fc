"""The typed keys under which the application holds its parts."""

from __future__ import annotations

from aiohttp import web

from server.sessions import Sessions

SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
