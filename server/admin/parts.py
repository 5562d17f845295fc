"""Engines, voices and ears as an operator sees them: which there are, which one is chosen, and why one is off."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from aiohttp import web

from server import speech
from server.keys import ENGINE, LISTENING, MODEL, SETTINGS, VOICES
from server.parts import Obstacle, musetalk_obstacle
from server.settings import Settings

_OFF = "It is turned off: lipsync.enable_musetalk (ENABLE_MUSETALK)."
_DEMO = "No language model is set (model.base_url): the tutor repeats what it is asked."


async def engines(app: web.Application) -> list[dict[str, Any]]:
    """Each engine: name, chosen, available (it could run here), code and why (a sentence) if something is in its way,
    its figures. Codes: off, cannot_run (cause: what is missing), restart (it could run by now), or the renderer's
    status.
    """
    settings, engine = app[SETTINGS], app[ENGINE]
    obstacle = await asyncio.to_thread(musetalk_obstacle, settings.lipsync.musetalk_base, settings.musetalk.version)
    figures: dict[str, Any] = getattr(engine, "figures", dict)()
    musetalk = engine.name == "musetalk"
    code, why = _running(figures) if musetalk else _not_running(settings, obstacle)
    own = figures if musetalk else None
    return [
        {
            "name": "warp",
            "chosen": not musetalk,
            "available": True,
            "code": None,
            "cause": None,
            "why": None,
            "figures": None,
        },
        {
            "name": "musetalk",
            "chosen": musetalk,
            "available": obstacle is None,
            "code": code,
            "cause": obstacle.cause if obstacle is not None and code == "cannot_run" else None,
            "why": why,
            "figures": own,
        },
    ]


def _running(figures: dict[str, Any]) -> tuple[str | None, str | None]:
    status = figures.get("status", "ready")
    if status == "ready":
        return None, None
    return status, f"It is {status}; the warp engine speaks meanwhile. {figures.get('problem') or ''}".rstrip()


def _not_running(settings: Settings, obstacle: Obstacle | None) -> tuple[str, str]:
    reasons = [] if settings.lipsync.enable_musetalk else [_OFF]
    if obstacle is not None:
        reasons.append(f"It cannot run here: {obstacle}.")
    if not reasons:
        return "restart", "It was missing something when the server started and could run now: start the server again."
    return "cannot_run" if obstacle is not None else "off", " ".join(reasons)


def voices(app: web.Application) -> dict[str, Any]:
    """Each voice that can be chosen by name: available, and why not; with the ears, and the model that answers."""
    book, listed = app[VOICES], speech.list_voices(app)
    found = []
    for voice in listed["voices"]:
        left = book.rest_left(voice["name"])
        found.append(
            {
                **voice,
                "default": voice["name"] == listed["default"],
                "available": left == 0,
                "again_in": round(left, 1) or None,
                "why": f"It failed just now; it is asked again in {left:.0f} s." if left else None,
            }
        )
    demonstration = app[MODEL].demonstration
    return {
        "default": listed["default"],
        "voices": found,
        "listening": asdict(app[LISTENING].availability),
        "model": {
            "mode": speech.mode(app),
            "name": app[SETTINGS].model.name or None,
            "why": _DEMO if demonstration else None,
        },
    }
