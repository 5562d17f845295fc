"""`python -m bench.musetalk_live`: a whole live server whose mouths MuseTalk draws: how many students it carries.

From the teacher's video to packets at WebRTC viewers, everything is the server as it runs; only the networks' weights
are random (on a GPU; on a CPU the tiny golden ones).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import psutil

from bench import machine
from bench.figures import Figure, table
from bench.serving import Server, Session, prepared, server, shared
from bench.soak.watcher import watching
from server.setting_groups import SessionSettings

AVATAR = "woman"
JOIN, SETTLE, STAY = 8.0, 4.0, 4.0
"""Seconds for all viewers to join, then of everyone's speaking that do not count, and that they stay afterwards."""
WATCHERS = 4  # processes
EVERY, MOST = 2.5, 24
"""Seconds between students that come, and how many of them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one viewer saw: pictures a second, pictures that never came, the longest time between two, s."""

    rate: float
    missing: int
    gap: float


@dataclass(frozen=True, slots=True)
class Step:
    """So many speaking sessions at once.

    cores: of the server's process, of MuseTalk's worker. late: share of mouths that came too late. sound: mean seconds
    from `say` to its sound. drawn: mouths by the worker, of the pictures that all sessions made meanwhile. skipped:
    pictures not made. loop_late: mean seconds that the event loop comes late.
    """

    seen: list[Seen]
    cores: tuple[float, float]
    late: float
    sound: float
    drawn: float
    skipped: int
    loop_late: float


def main(arguments: list[str]) -> int:
    """0 when the figures to reach were reached."""
    import torch  # not at the top: the viewers' processes come by this module, too

    parser = argparse.ArgumentParser(prog="python -m bench.musetalk_live")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0, …")
    parser.add_argument("--keep", type=Path, help="a folder for the random installation, which is used again")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8, 12, 16, 20])
    parser.add_argument("--servers", type=int, default=1, help="on the same GPU; the sessions are dealt out to them")
    parser.add_argument("--arrive", action="store_true", help="one after another, as many as the usual limits let in")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    options = parser.parse_args(arguments)
    cuda = options.device != "cpu" and torch.cuda.is_available()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="musetalk-live-")))
        base = _base(options.keep or scratch, cuda)
        own = {
            "ENABLE_MUSETALK": "true",
            "MUSETALK_BASE": str(base),
            "LECTERN_LIPSYNC__MUSETALK_DEVICE": options.device if cuda else "cpu",
            "MAX_SESSIONS": "64",
        }
        os.environ.update(own)
        avatars, took = prepared(AVATAR, shared() / "media" / "idle-woman-1280x720-30fps.mp4")
        rows = [Figure("avatar from a 9.4 s 720p clip, both engines", "", f"{took:.1f} s", None)]
        if options.arrive:
            usual = SessionSettings()
            own["LECTERN_SESSIONS__MAX_CPU_PERCENT"] = str(usual.max_cpu_percent)
            own["LECTERN_SESSIONS__MAX_LOOP_PERCENT"] = str(usual.max_loop_percent)
            own["LECTERN_SESSIONS__MAX_LATE_MS"] = str(usual.max_late_ms)
        servers = []
        for number in range(options.servers):
            own["DATABASE_URL"] = f"sqlite:///{scratch / f'{number}.db'}"
            servers.append(stack.enter_context(server(avatars, **own)))
        rows += _ready(servers)
        rows += _arrivals(servers[0], options.seconds) if options.arrive else _steps(servers, options)
    what = torch.cuda.get_device_name() if cuda else "the CPU, tiny golden network"
    print(f"\n{machine.describe()}\ntorch {torch.__version__} on {what}\n\n{table(rows)}")
    return 0 if all(row.reached is not False for row in rows) else 1


def _base(folder: Path, cuda: bool) -> Path:
    if not cuda:
        return shared() / "musetalk" / "golden"
    whole = folder / "full"
    if not whole.is_dir():
        from bench import musetalk_random

        print("writing the random installation …", file=sys.stderr, flush=True)
        musetalk_random.installation(whole)
    return whole


def _ready(servers: Sequence[Server]) -> list[Figure]:
    told = [_wait(each) for each in servers]
    ready = max(seconds for _, seconds in told)
    capacity = " + ".join(str(each) for each, _ in told)
    note = "from the speed measured at the start" + (", each server's by itself" if len(servers) > 1 else "")
    return [
        Figure("server's start → MuseTalk draws", "60 s", f"{ready:.1f} s", ready <= 60),
        Figure("sessions that may speak at once", "", capacity, None, note),
    ]


def _wait(running: Server) -> tuple[int | None, float]:
    """Until the worker draws: the sessions it can carry, and the seconds since the server's start."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        told = running.call("GET", "/health")["renderer"]
        if told["status"] == "ready":
            return told["capacity"], time.time() - psutil.Process(running.process.pid).create_time()
        if told["problem"]:
            raise RuntimeError(told["problem"])
        time.sleep(0.2)
    raise RuntimeError("MuseTalk's worker did not get ready in 240 s")


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


# -- so many at once ----------------------------------------------------------------------------------------------


def _steps(servers: Sequence[Server], options: argparse.Namespace) -> list[Figure]:
    rows: list[Figure] = []
    with _pool(WATCHERS) as pool:
        for count in options.sessions:
            print(f"{count} sessions …", file=sys.stderr, flush=True)
            try:
                step = _step(servers, pool, count, options.seconds)
            except RuntimeError as error:
                rows.append(Figure(f"{count} sessions", "", "not admitted", None, str(error)[:200]))
                break
            rows.append(_row(step))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _step(servers: Sequence[Server], pool: ProcessPoolExecutor, count: int, seconds: float) -> Step:
    live: list[tuple[Server, Session]] = []
    sounds = _sounds(servers)
    try:
        live += ((each, each.session(AVATAR)) for each in itertools.islice(itertools.cycle(servers), count))
        sessions = [session for _, session in live]
        begin = time.monotonic() + JOIN + SETTLE
        watched = [pool.submit(watch, sessions[k::WATCHERS], begin, seconds) for k in range(min(WATCHERS, count))]
        time.sleep(JOIN / 2)
        for each, session in live:
            each.talk(session, (JOIN + SETTLE + seconds + STAY) / 60)
        time.sleep(max(0.0, begin - time.monotonic()))
        before, busy = _told(servers, live), _cpu(servers)
        time.sleep(seconds)
        after, used = _told(servers, live), _cpu(servers)
        seen = [one for each in watched for one in each.result(timeout=60)]
    finally:
        _end(live)
    total, count_of = _sounds(servers)
    more = {name: after[name] - before[name] for name in after}
    return Step(
        seen,
        ((used[0] - busy[0]) / seconds, (used[1] - busy[1]) / seconds),
        more["mouths_late"] / max(1.0, more["mouths_late"] + more["mouths"]),
        (total - sounds[0]) / max(1.0, count_of - sounds[1]),
        more["drawn"] / max(1.0, more["pictures"]),
        int(more["pictures_skipped"]),
        more["loop_sum"] / max(1.0, more["loop_count"]),
    )


def _end(live: Sequence[tuple[Server, Session]]) -> None:
    for each, session in live:
        with contextlib.suppress(RuntimeError):
            each.call("DELETE", f"/v1/sessions/{session.id}")


# -- one after another --------------------------------------------------------------------------------------------


def _arrivals(running: Server, seconds: float) -> list[Figure]:
    """Students come every EVERY seconds, and all tutors speak, until one is refused: do the others fare well?"""
    live: list[tuple[Server, Session]] = []
    refused = ""
    begin = time.monotonic() + EVERY * MOST + SETTLE
    with _pool(MOST) as pool:
        try:
            watched = []
            for number in range(MOST):
                due = begin - SETTLE - EVERY * (MOST - number)
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    session = running.session(AVATAR)
                except RuntimeError as error:
                    refused = refused or f"the {len(live) + 1}th was refused: {error}"
                    continue
                live.append((running, session))
                watched.append(pool.submit(watch, [session], begin, seconds))
                running.talk(session, (begin + seconds + STAY - time.monotonic()) / 60)
            seen = [one for each in watched for one in each.result(timeout=begin + seconds + 60 - time.monotonic())]
        finally:
            _end(live)
    slowest, gap = min(one.rate for one in seen), max(one.gap for one in seen)
    note = f"{sum(one.missing for one in seen)} pictures not seen, longest gap {gap * 1000:.0f} ms; {refused}"
    return [
        Figure(f"students let in, of {MOST} that came every {EVERY:.1f} s", "", str(len(seen)), None, note[:400]),
        Figure("the slowest of them", "24.5 fps", f"{slowest:.2f} fps", slowest >= 24.5),
    ]


# -- what the servers tell ------------------------------------------------------------------------------------------


def _told(servers: Sequence[Server], live: Sequence[tuple[Server, Session]]) -> dict[str, float]:
    stats = [each.call("GET", f"/v1/sessions/{session.id}/stats")["live"] for each, session in live]
    names = ("pictures", "pictures_skipped", "mouths", "mouths_late")
    told = {name: float(sum(each[name] for each in stats)) for name in names}
    told["loop_sum"], told["loop_count"] = _metric(servers, "lectern_event_loop_late_seconds")
    told["drawn"] = float(sum(each.call("GET", "/health")["renderer"]["drawn"] for each in servers))
    return told


def _sounds(servers: Sequence[Server]) -> tuple[float, float]:
    """Seconds from `say` to its sound, all together, and how many; a turn is counted when it has ended."""
    return _metric(servers, "lectern_say_to_sound_seconds")


def _metric(servers: Sequence[Server], name: str) -> tuple[float, float]:
    """Sum and count of a histogram, of all its labels and servers together."""
    total = count = 0.0
    for each in servers:
        with urllib.request.urlopen(urljoin(each.url, "/metrics"), timeout=10) as answer:
            text = answer.read().decode()
        total += sum(map(float, re.findall(rf"^{name}_sum\S* (\S+)$", text, re.MULTILINE)))
        count += sum(map(float, re.findall(rf"^{name}_count\S* (\S+)$", text, re.MULTILINE)))
    return total, count


def _cpu(servers: Sequence[Server]) -> tuple[float, float]:
    """CPU seconds so far: of the servers' own processes, of their children."""
    own = children = 0.0
    for each in servers:
        first, *others = [sum(process.cpu_times()[:2]) for process in each.processes()]
        own += first
        children += sum(others)
    return own, children


def _row(step: Step) -> Figure:
    notes = (
        f"{step.skipped} pictures not made, {sum(s.missing for s in step.seen)} not seen",
        f"longest gap {max(s.gap for s in step.seen) * 1000:.0f} ms",
        f"{step.late:.2%} of mouths late",
        f"{step.drawn:.0%} of pictures by MuseTalk",
        f"say → sound {step.sound * 1000:.0f} ms",
        f"server {step.cores[0]:.2f} and worker {step.cores[1]:.2f} cores",
        f"event loop {step.loop_late * 1000:.1f} ms late",
    )
    slowest = min(s.rate for s in step.seen)
    name = f"{len(step.seen)} sessions, all speaking: the slowest viewer"
    return Figure(name, "", f"{slowest:.2f} fps", None, ", ".join(notes))


def watch(sessions: Sequence[Session], begin: float, seconds: float) -> list[Seen]:
    """Join these sessions, in a process of their own, and watch them from `begin` (time.monotonic()) on."""
    return asyncio.run(_watch(sessions, begin, seconds))


async def _watch(sessions: Sequence[Session], begin: float, seconds: float) -> list[Seen]:
    end = begin + seconds
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
        contextlib.AsyncExitStack() as stack,
    ):
        watchers = [await stack.enter_async_context(watching(http, session)) for session in sessions]
        await asyncio.sleep(end - time.monotonic())
        seen = [Seen(w.rate(begin, end), w.missing(begin, end), w.longest_gap(begin, end)) for w in watchers]
        await asyncio.sleep(STAY)
        return seen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
