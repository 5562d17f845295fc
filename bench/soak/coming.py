"""Half an hour of sessions coming and going: the ones that run hold 25 pictures a second all the time."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import aiohttp

from bench.figures import Figure
from bench.serving import Server
from bench.soak.held import held
from bench.soak.watcher import Watcher, watching
from bench.speech import LONG, SHORT

SETTLE = 2.0
LOOK = 10.0
"""Seconds of each look at a session's rate."""

SEED = 5


@dataclass(slots=True)
class Tally:
    """What all watched sessions together showed."""

    rates: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    missing: int = 0
    pictures: int = 0
    visits: int = 0


async def measure(server: Server, avatar_id: str, seconds: float) -> list[Figure]:
    """One session stays for the whole time, speaking; beside it two places where visitors follow each other."""
    tally = Tally()
    stop = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        await _visit(server, http, avatar_id, 8.0, Tally())  # libraries, voice and thread pools are there from here on
        before = await asyncio.to_thread(held, server)
        async with asyncio.TaskGroup() as group:
            group.create_task(_visit(server, http, avatar_id, seconds, tally))
            group.create_task(_visitors(server, http, avatar_id, stop, tally, random.Random(SEED)))
            group.create_task(_visitors(server, http, avatar_id, stop, tally, random.Random(SEED + 1)))
        after = await asyncio.to_thread(held, server)
    mean = sum(tally.rates) / len(tally.rates)
    good = sum(rate >= 24.5 for rate in tally.rates) / len(tally.rates)
    return [
        Figure(
            f"pictures a second over {seconds / 60:.0f} min, sessions coming and going",
            "25 fps",
            f"{mean:.2f} fps",
            mean >= 24.9,
            f"{tally.visits} sessions, {len(tally.rates)} looks of {LOOK:.0f} s, slowest {min(tally.rates):.2f}, "
            f"{good:.1%} at 24.5 or more",
        ),
        Figure(
            "pictures that never came",
            "0.1 % at most",
            f"{tally.missing} of {tally.pictures}",
            tally.missing <= tally.pictures * 0.001,
            f"longest gap {max(tally.gaps) * 1000:.0f} ms",
        ),
        Figure("held before", "", str(before), None),
        Figure("held afterwards", "", str(after), None),
    ]


async def _visitors(
    server: Server, http: aiohttp.ClientSession, avatar_id: str, stop: float, tally: Tally, dice: random.Random
) -> None:
    while (left := stop - time.monotonic()) > LOOK + SETTLE:
        await _visit(server, http, avatar_id, min(left, dice.uniform(15, 45)), tally)
        await asyncio.sleep(dice.uniform(0.2, 3))


async def _visit(server: Server, http: aiohttp.ClientSession, avatar_id: str, seconds: float, tally: Tally) -> None:
    """Join, let the tutor speak and be interrupted, and leave."""
    session = await asyncio.to_thread(server.session, avatar_id)
    stop = time.monotonic() + seconds
    tally.visits += 1
    async with watching(http, session) as seen:
        await asyncio.to_thread(server.say, session, LONG)
        await asyncio.sleep(SETTLE)
        turn = 0
        while (left := stop - time.monotonic()) > 0:
            began = time.monotonic()
            await asyncio.sleep(min(LOOK, left))
            _note(seen, began, tally, whole=left >= LOOK)
            turn += 1
            if turn % 4 == 0:
                await asyncio.to_thread(server.call, "POST", f"/v1/sessions/{session.id}/interrupt")
                await asyncio.to_thread(server.say, session, SHORT[turn // 4 % len(SHORT)])
                await asyncio.to_thread(server.say, session, LONG)
    await asyncio.to_thread(server.call, "DELETE", f"/v1/sessions/{session.id}")


def _note(seen: Watcher, began: float, tally: Tally, *, whole: bool) -> None:
    now = time.monotonic()
    if whole:
        tally.rates.append(seen.rate(began, now))
    tally.gaps.append(seen.longest_gap(began, now))
    tally.missing += seen.missing(began, now)
    tally.pictures += len(seen.pictures)
    seen.forget()
