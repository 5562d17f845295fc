"""kill -9 at random moments: what the server had answered for is still there, and half an avatar is nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure
from bench.serving import ROOT, Server, server

SEED = 11
LONGEST = 8.0
"""Seconds after the start within which the server is killed."""

PICTURE = ROOT / "static" / "sample" / "tutor.jpg"
READY_SECONDS = 200.0


@dataclass(slots=True)
class Promised:
    """What the server has answered for. tutors: by id as last acknowledged; None: deleted. unsure: ids with a request
    under way when the server died, or that it had no time for: either outcome is right. ready: avatars that were told
    to be finished.
    """

    tutors: dict[str, str | None] = field(default_factory=dict)
    unsure: dict[str, set[str | None]] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Losses:
    """What was not as promised, in sentences."""

    records: list[str] = field(default_factory=list)
    avatars: list[str] = field(default_factory=list)


def measure(folder: Path, rounds: int) -> list[Figure]:
    """folder: emptied first; the database and the avatars live in it from round to round."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dice = random.Random(SEED)
    promised, losses, starts = Promised(), Losses(), []
    for number in range(rounds + 1):
        with server(folder / "avatars") as running:
            starts.append(running.ready_after)
            asyncio.run(_round(running, promised, losses, dice, number, last=number == rounds))
    kept = sum(name is not None for name in promised.tutors.values())
    return [
        Figure(
            f"committed records lost by {rounds} kills",
            "none",
            f"{len(losses.records)}",
            not losses.records,
            "; ".join(losses.records[:3]) or f"{kept} tutors and {len(promised.tutors) - kept} deletions held",
        ),
        Figure(
            "finished avatars lost, or half ones shown as ready",
            "none",
            f"{len(losses.avatars)}",
            not losses.avatars,
            "; ".join(losses.avatars[:3]) or f"{len(promised.ready)} finished; started again in {max(starts):.1f} s",
        ),
    ]


async def _round(
    running: Server, promised: Promised, losses: Losses, dice: random.Random, number: int, *, last: bool
) -> None:
    """Look whether everything is there; then work on it until the server is killed in the midst of that."""
    async with aiohttp.ClientSession(running.url, timeout=aiohttp.ClientTimeout(total=60)) as http:
        await _check(http, promised, losses, number)
        if last:
            return
        work = [
            asyncio.create_task(_tutors(http, promised, random.Random(SEED + number), number)),
            asyncio.create_task(_avatar(http, promised, number)),
            asyncio.create_task(_session(http, promised)),
        ]
        try:
            if number % 4 == 3:  # just when an avatar is finished
                await _one_more(promised, len(promised.ready))
                await asyncio.sleep(dice.uniform(0, 0.3))
            else:
                await asyncio.sleep(dice.uniform(0.1, LONGEST))
        finally:
            for process in running.processes():
                with contextlib.suppress(ProcessLookupError):  # a child may see its parent's end first
                    os.kill(process.pid, signal.SIGKILL)
            await asyncio.wait(work, timeout=30)
            for task in work:
                task.cancel()
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            refused = isinstance(outcome, aiohttp.ClientResponseError)
            if refused or not isinstance(
                outcome, aiohttp.ClientError | asyncio.CancelledError | TimeoutError | OSError
            ):
                raise RuntimeError(f"the work ended before the kill: {outcome!r}")


async def _one_more(promised: Promised, had: int) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while len(promised.ready) <= had:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# -- looking ------------------------------------------------------------------------------------------------------


async def _check(http: aiohttp.ClientSession, promised: Promised, losses: Losses, number: int) -> None:
    for tutor_id, name in promised.tutors.items():
        async with http.get(f"/v1/tutors/{tutor_id}") as answer:
            found = (await answer.json())["name"] if answer.status == 200 else None
            if answer.status not in (200, 404):
                losses.records.append(f"round {number}: tutor {tutor_id} answers {answer.status}")
        allowed = {name} | promised.unsure.get(tutor_id, set())
        if found not in allowed:
            losses.records.append(f"round {number}: tutor {tutor_id} is {found!r}, not {name!r}")
        promised.tutors[tutor_id] = found
    promised.unsure.clear()
    listed = {each["id"]: each for each in (await _get(http, "/v1/avatars"))["items"]}
    for avatar_id in promised.ready:
        if listed.get(avatar_id, {}).get("state") != "ready":
            losses.avatars.append(f"round {number}: {avatar_id} is {listed.get(avatar_id, {}).get('state')}")
    for avatar_id, record in listed.items():
        if record["state"] == "ready":
            await _opens(http, avatar_id, losses, number)


async def _opens(http: aiohttp.ClientSession, avatar_id: str, losses: Losses, number: int) -> None:
    async with http.post("/v1/sessions", json={"avatar_id": avatar_id, "student_id": "kills"}) as answer:
        text = await answer.text()
        if answer.status != 201:
            losses.avatars.append(f"round {number}: {avatar_id} is ready but does not open: {text[:120]}")
            return
    async with http.delete(f"/v1/sessions/{json.loads(text)['session_id']}") as answer:
        await answer.read()


async def _get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        answer.raise_for_status()
        return await answer.json()


# -- working ------------------------------------------------------------------------------------------------------


async def _tutors(http: aiohttp.ClientSession, promised: Promised, dice: random.Random, number: int) -> None:
    """Make, rename and delete tutors without a pause, noting what is acknowledged."""
    for count in range(100_000):
        known = [each for each, name in promised.tutors.items() if name is not None and each not in promised.unsure]
        act = dice.choice(["make", "make", "rename", "delete"]) if known else "make"
        tutor_id = f"t{number}-{count}" if act == "make" else dice.choice(known)
        name = None if act == "delete" else f"Name {number} {count}"
        promised.unsure[tutor_id] = {promised.tutors.get(tutor_id), name}
        request = {
            "make": lambda: http.post("/v1/tutors", json={"id": tutor_id, "name": name}),  # noqa: B023
            "rename": lambda: http.patch(f"/v1/tutors/{tutor_id}", json={"name": name}),  # noqa: B023
            "delete": lambda: http.delete(f"/v1/tutors/{tutor_id}"),  # noqa: B023
        }[act]()
        promised.tutors.setdefault(tutor_id, None)
        async with request as answer:
            if answer.status == 503:  # the disk is slow: what became of it is seen in the next round
                continue
            if answer.status not in (200, 201, 204):
                raise RuntimeError(f"{act} {tutor_id}: {answer.status} {await answer.text()}")
        promised.tutors[tutor_id] = name
        del promised.unsure[tutor_id]


async def _avatar(http: aiohttp.ClientSession, promised: Promised, number: int) -> None:
    """Upload one portrait after another and note which are told to be ready; what a kill has left is waited for."""
    while any(each["state"] == "preparing" for each in (await _get(http, "/v1/avatars"))["items"]):  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    for count in range(1000):
        avatar_id = f"a{number}-{count}"
        form = aiohttp.FormData({"avatar_id": avatar_id, "consent": "true"})
        form.add_field("video_file", PICTURE.read_bytes(), filename="tutor.jpg")
        async with http.post("/v1/avatars/upload", data=form) as answer:
            answer.raise_for_status()
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            record = await _get(http, f"/v1/avatars/{avatar_id}")
            if record["state"] == "ready":
                promised.ready.add(avatar_id)
                break
            await asyncio.sleep(0.1)


async def _session(http: aiohttp.ClientSession, promised: Promised) -> None:
    """A session that talks, so that the journal writes too; waits for an avatar first."""
    while True:
        listed = (await _get(http, "/v1/avatars"))["items"]
        ready = [each["id"] for each in listed if each["state"] == "ready"]
        if ready:
            break
        await asyncio.sleep(0.3)
    async with http.post("/v1/sessions", json={"avatar_id": ready[0], "student_id": "kills"}) as answer:
        session = (await answer.json())["session_id"]
    while True:
        async with http.post(f"/v1/sessions/{session}/ask", json={"text": "What is light?"}) as answer:
            await answer.read()
        await asyncio.sleep(0.5)
