"""500 malformed requests a second beside a running session: it must lose no picture."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import aiohttp

from bench.figures import Figure
from bench.serving import ROOT, Server
from bench.soak.watcher import watching

RATE = 500.0
SETTLE = 3.0


async def measure(server: Server, avatar_id: str, seconds: float) -> list[Figure]:
    """A speaking session, watched, first alone and then beside the flood, for `seconds` each."""
    session = server.session(avatar_id)
    server.talk(session, (2 * seconds + 15) / 60)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http, watching(http, session) as seen:
        await asyncio.sleep(SETTLE)
        alone = time.monotonic()
        await asyncio.sleep(min(20.0, seconds / 3))
        calm = seen.missing(alone, time.monotonic())
        before = server.call("GET", f"/v1/sessions/{session.id}/stats")["live"]
        began = time.monotonic()
        told = await _flood(server.url, session.id, seconds)
        ended = time.monotonic()
        missing, gap, rate = (
            seen.missing(began, ended),
            seen.longest_gap(began, ended) * 1000,
            seen.rate(began, ended),
        )
    after = server.call("GET", f"/v1/sessions/{session.id}/stats")["live"]
    own = ", ".join(f"{name} {after[name] - before[name]}" for name in ("pictures_skipped", "stalls", "overflows"))
    server.call("DELETE", f"/v1/sessions/{session.id}")
    answers = told["answers"]
    sent, wrong = told["sent"], sum(count for status, count in answers.items() if not _refused(status))
    note = ", ".join(f"{status}: {count}" for status, count in sorted(answers.items()))
    return [
        Figure(
            "malformed requests beside a session", "500 a second", f"{sent / told['seconds']:.0f} a second", None, note
        ),
        Figure("of them not refused", "none", f"{wrong} of {sent}", wrong == 0),
        Figure(
            "pictures that the session lost meanwhile",
            "none",
            f"{missing}",
            missing == 0,
            f"{rate:.2f} a second, longest gap {gap:.0f} ms; lost in the time before: {calm}; {own}",
        ),
    ]


async def _flood(url: str, session: str, seconds: float) -> dict[str, Any]:
    arguments: Iterable[str] = ("-m", "bench.soak.malformed", url, session, str(RATE), str(seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(seconds + 60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    told: dict[str, Any] = json.loads(out)
    return told


def _refused(status: str) -> bool:
    """A 4xx, or the line cut; never served, never the server's own fault, never left without an answer."""
    return status.startswith("4") or status in ("closed", "left", "ConnectionResetError", "BrokenPipeError")
