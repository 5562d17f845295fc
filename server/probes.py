"""What an operator's tools ask: does it live, may it be sent students, and how is everything."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from server.keys import (
    BUILDER,
    DRAIN,
    ENGINE,
    LISTENING,
    METRICS,
    PEERS,
    RECORDER,
    RECORDS,
    SESSIONS,
    SETTINGS,
    STOPPING,
    STORE,
    VOICES,
)
from server.metrics import CONTENT_TYPE
from server.metrics.state import Parts
from server.records.errors import RecordsUnavailable
from server.security import require_service

log = structlog.get_logger(__name__)

RECORDS_SECONDS = 2.0

FREE_BYTES = 200 << 20
"""Less room than this for avatars and recordings is not enough to go on with."""

RETRY_SECONDS = "5"


def add_routes(app: web.Application) -> None:
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])


async def livez(request: web.Request) -> web.Response:
    """200 as long as the event loop turns."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 when students may be sent here, else 503; each check by its name."""
    checks = await look(request.app)
    ready = all(check["ok"] for check in checks.values())
    return web.json_response(
        {"status": "ready" if ready else "not_ready", "checks": checks},
        status=200 if ready else 503,
        headers={} if ready else {"Retry-After": RETRY_SECONDS},
    )


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format; for who may manage."""
    require_service(request)
    app = request.app
    checks = await look(app)
    disk = await asyncio.to_thread(_disk, app[STORE].root)
    parts = Parts(
        app[SESSIONS],
        app[PEERS],
        app[STORE],
        app[BUILDER],
        app[ENGINE],
        {name: bool(check["ok"]) for name, check in checks.items()},
        disk,
        len(app[RECORDER].all()),
    )
    return web.Response(body=await app[METRICS].scrape(parts), headers={"Content-Type": CONTENT_TYPE})


async def look(app: web.Application) -> dict[str, dict[str, Any]]:
    """Each check by its name: whether it is ok, and a detail."""
    return {
        "serving": _serving(app),
        "storage": await asyncio.to_thread(_storage, app[STORE].root),
        "records": await _records(app),
        "engine": _engine(app),
        "voice": {"ok": True, "detail": app[VOICES].resolve(app[SETTINGS].voice.default)},
        "listening": _listening(app),
    }


def _serving(app: web.Application) -> dict[str, Any]:
    if app[STOPPING].is_set():
        return _check(False, "it is being stopped")
    state = app[DRAIN].state
    left = "" if state.seconds_left is None else f", for {state.seconds_left} s at most"
    return _check(app[SESSIONS].refusing is None, f"it takes no new sessions: draining, {state.running} run{left}")


def _disk(root: Path) -> tuple[int, int]:
    """Total and free bytes; none where the folder cannot be looked at, which its check tells."""
    try:
        usage = shutil.disk_usage(root)
    except OSError:
        return 0, 0
    return usage.total, usage.free


def _check(ok: bool, why: str) -> dict[str, Any]:
    return {"ok": True} if ok else {"ok": False, "detail": why}


def _storage(root: Path) -> dict[str, Any]:
    try:
        free = shutil.disk_usage(root).free
    except OSError as error:
        return _check(False, f"the avatars' folder cannot be looked at: {error.strerror}")
    if not os.access(root, os.W_OK):
        return _check(False, "the avatars' folder cannot be written to")
    return _check(free >= FREE_BYTES, f"only {free >> 20} MB are free where the avatars are")


async def _records(app: web.Application) -> dict[str, Any]:
    """Sessions by tutor need the database. Why it is away stands in the log: this is told to everybody."""
    try:
        async with asyncio.timeout(RECORDS_SECONDS):
            await app[RECORDS].database.ping()
    except (RecordsUnavailable, TimeoutError) as error:
        log.warning("records_unavailable", why=str(error))
        return _check(False, "the database does not answer")
    waiting, lost = app[RECORDS].journal.waiting, app[RECORDS].journal.lost
    return {"ok": True, "detail": f"{waiting} entries wait to be written, {lost} were lost"}


def _engine(app: web.Application) -> dict[str, Any]:
    """MuseTalk being away is no reason to send nobody: the warp engine speaks meanwhile. It is told."""
    engine = app[ENGINE]
    figures = getattr(engine, "figures", None)
    status = figures()["status"] if figures is not None else "ready"
    detail = engine.name if status == "ready" else f"{engine.name} is {status}; the warp engine speaks meanwhile"
    return {"ok": True, "detail": detail}


def _listening(app: web.Application) -> dict[str, Any]:
    """Students may type where nobody can listen."""
    why = app[LISTENING].availability.reason
    return {"ok": True, "detail": "the microphone works" if why is None else why}
