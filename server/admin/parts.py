"""Engines, voices and ears as an operator sees them: which there are, which one is chosen, and why one is off."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from aiohttp import web

from server import speech
from server.keys import ENGINE, LISTENING, MODEL, SETTINGS, VOICES
from server.parts import musetalk_obstacle
from server.settings import Settings

_OFF = "It is turned off: lipsync.enable_musetalk (ENABLE_MUSETALK)."


async def engines(app: web.Application) -> list[dict[str, Any]]:
    """Each engine: name, chosen, available (it could run here), why not (a sentence, or None), its figures."""
    settings, engine = app[SETTINGS], app[ENGINE]
    obstacle = await asyncio.to_thread(musetalk_obstacle, settings.lipsync.musetalk_base, settings.musetalk.version)
    figures: dict[str, Any] = getattr(engine, "figures", dict)()
    musetalk = engine.name == "musetalk"
    return [
        {
            "name": "warp",
            "chosen": not musetalk,
            "available": True,
            "why": "It speaks where MuseTalk cannot." if musetalk else None,
            "figures": None,
        },
        {
            "name": "musetalk",
            "chosen": musetalk,
            "available": obstacle is None,
            "why": _why_musetalk(settings, musetalk, figures, obstacle),
            "figures": figures if musetalk else None,
        },
    ]


def _why_musetalk(settings: Settings, chosen: bool, figures: dict[str, Any], obstacle: str | None) -> str | None:
    if chosen:
        status = figures.get("status", "ready")
        return None if status == "ready" else f"It is {status}: {figures.get('problem') or 'it has only just begun'}."
    reasons = [] if settings.lipsync.enable_musetalk else [_OFF]
    if obstacle is not None:
        reasons.append(f"It cannot run here: {obstacle}.")
    return " ".join(reasons) or "It can run here since the server started: start the server again."


def voices(app: web.Application) -> dict[str, Any]:
    """Each voice that can be chosen by name: available, and why not; with the model that answers and the ears."""
    book, listed = app[VOICES], speech.list_voices(app)
    found = []
    for voice in listed["voices"]:
        left = book.rest_left(voice["name"])
        why = f"It failed just now; it is asked again in {left:.0f} s." if left > 0 else None
        found.append({**voice, "default": voice["name"] == listed["default"], "available": why is None, "why": why})
    model = app[SETTINGS].model
    return {
        "default": listed["default"],
        "voices": found,
        "listening": asdict(app[LISTENING].availability),
        "model": {
            "mode": speech.mode(app),
            "name": model.name or None,
            "why": "No language model is set (model.base_url): the tutor repeats what it is asked."
            if app[MODEL].demonstration
            else None,
        },
    }
