"""Half an hour of sessions coming and going: the ones that run hold 25 pictures a second all the time."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil

from bench.figures import Figure
from bench.serving import NoRoom, Server, Session
from bench.soak.held import held
from bench.soak.watcher import Watcher, watching
from bench.speech import LONG, SHORT

SETTLE = 2.0
LOOK = 10.0
"""Seconds of each look at a session's rate."""

LOW = 24.5
"""Pictures a second below which a look shows a stutter."""

START = 3.0
"""Seconds that a start may be felt by others: the page connects, the first speech is made."""

AGAIN = 5.0
"""Seconds after which a visitor who found no room comes back."""

SEED = 5


@dataclass(frozen=True, slots=True)
class Look:
    """One session over LOOK seconds. at: when it began. rate: pictures a second."""

    at: float
    rate: float


@dataclass(slots=True)
class Tally:
    """What all watched sessions together showed.

    begun: when each was asked for. refused: how often there was no room. skipped: pictures that the server left out.
    """

    looks: list[Look] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    refused: int = 0
    missing: int = 0
    skipped: int = 0
    pictures: int = 0

    def beside_a_start(self, look: Look) -> bool:
        """Whether a session began in that time, or so shortly before that it was still starting."""
        return any(look.at - START < begun < look.at + LOOK for begun in self.begun)


async def measure(server: Server, avatar_id: str, seconds: float) -> list[Figure]:
    """One session stays for the whole time, speaking; beside it two places where visitors follow each other."""
    tally = Tally()
    stop = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        first = await _ask(server, avatar_id, Tally())
        await _visit(server, http, first, 8.0, Tally())  # libraries, voice and thread pools are there from here on
        before = await asyncio.to_thread(held, server)
        began = server.cpu(), psutil.cpu_times(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            staying = await _ask(server, avatar_id, tally)
            group.create_task(_visit(server, http, staying, seconds, tally))
            group.create_task(_visitors(server, http, avatar_id, stop, tally, random.Random(SEED)))
            group.create_task(_visitors(server, http, avatar_id, stop, tally, random.Random(SEED + 1)))
        load = _load(server, *began)
        after = await asyncio.to_thread(held, server)
    return [
        *_figures(tally, seconds, load),
        Figure("held before", "", str(before), None),
        Figure("held afterwards", "", str(after), None),
    ]


def _figures(tally: Tally, seconds: float, load: str) -> list[Figure]:
    rates = [look.rate for look in tally.looks]
    mean = sum(rates) / len(rates)
    low = [look for look in tally.looks if look.rate < LOW]
    starts = sum(tally.beside_a_start(look) for look in tally.looks)
    low_starts = sum(tally.beside_a_start(look) for look in low)
    return [
        Figure(
            f"pictures a second over {seconds / 60:.0f} min, sessions coming and going",
            "25 fps",
            f"{mean:.2f} fps",
            mean >= 24.9,
            f"{len(tally.begun)} sessions ({tally.refused} times no room), {len(rates)} looks of {LOOK:.0f} s, "
            f"slowest {min(rates):.2f}, "
            f"{1 - len(low) / len(rates):.1%} at {LOW} or more; "
            f"of the {len(low)} below, {low_starts} beside a session's start, as {starts} of all were; {load}",
        ),
        Figure(
            "pictures that never came",
            "0.1 % at most",
            f"{tally.missing} of {tally.pictures}",
            tally.missing <= tally.pictures * 0.001,
            f"{tally.skipped} left out by the server, as it was late; longest gap {max(tally.gaps) * 1000:.0f} ms",
        ),
    ]


def _load(server: Server, cpu: float, machine: Any, at: float) -> str:
    """What the server took since then, and the machine."""
    passed, now = time.monotonic() - at, psutil.cpu_times()
    busy = sum(now) - now.idle - now.iowait - (sum(machine) - machine.idle - machine.iowait)
    return f"server {(server.cpu() - cpu) / passed:.2f} cores, all {busy / passed:.2f} of {os.cpu_count()}"


async def _visitors(
    server: Server, http: aiohttp.ClientSession, avatar_id: str, stop: float, tally: Tally, dice: random.Random
) -> None:
    while (left := stop - time.monotonic()) > LOOK + SETTLE:
        try:
            session = await _ask(server, avatar_id, tally)
        except NoRoom:
            tally.refused += 1
            await asyncio.sleep(AGAIN)
            continue
        await _visit(server, http, session, min(left, dice.uniform(15, 45)), tally)
        await asyncio.sleep(dice.uniform(0.2, 3))


async def _ask(server: Server, avatar_id: str, tally: Tally) -> Session:
    """A session of one's own. Raises NoRoom."""
    asked = time.monotonic()
    session = await asyncio.to_thread(server.session, avatar_id)
    tally.begun.append(asked)
    return session


async def _visit(server: Server, http: aiohttp.ClientSession, session: Session, seconds: float, tally: Tally) -> None:
    """Join, let the tutor speak and be interrupted, and leave."""
    stop = time.monotonic() + seconds
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
        live = (await asyncio.to_thread(server.call, "GET", f"/v1/sessions/{session.id}/stats"))["live"]
        tally.skipped += live["pictures_skipped"]
    await asyncio.to_thread(server.call, "DELETE", f"/v1/sessions/{session.id}")


def _note(seen: Watcher, began: float, tally: Tally, *, whole: bool) -> None:
    now = time.monotonic()
    if whole:
        tally.looks.append(Look(began, seen.rate(began, now)))
    tally.gaps.append(seen.longest_gap(began, now))
    tally.missing += seen.missing(began, now)
    tally.pictures += len(seen.pictures)
    seen.forget()
