"""`python -m bench [--quick] [NAME …]`: measures, prints the table, and keeps it in docs/benchmarks.md (full runs)."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib
import sys
from collections.abc import Callable

from bench import figures, machine, measure_live, measure_sync, measure_wire
from bench.browser import chromium
from bench.figures import Figure
from bench.serving import ROOT, prepared, server, shared

AVATAR = "woman"
NAMES = [
    "prepare",
    "start",
    "first-frame",
    "wire",
    "sync",
    "one",
    "four",
    "memory",
    "stall",
    "talk",
    "listen",
    "mouth",
    "warp",
    "ports",
]
ALONE = {"ports"}
"""Need neither a tutor nor a server."""


def main(arguments: list[str]) -> int:
    """Run the measurements; 0 also where a figure is not reached (the table says so), 1 when one can't be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="short runs: 15 s instead of 60 s")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    wanted = options.names or NAMES
    seconds = 15.0 if options.quick else 60.0
    rows, failed = run(wanted, seconds)
    text = figures.table(rows)
    print(f"\n{machine.describe()}\n\n{text}")
    if not options.names and not options.quick:
        keep(text)
    return 1 if failed else 0


def run(wanted: list[str], seconds: float) -> tuple[list[Figure], int]:
    """All wanted figures in order; a measurement that fails becomes a row that says so."""
    rows: list[Figure] = []
    failed = 0

    def attempt(name: str, measure: Callable[[], Figure | list[Figure]]) -> None:
        nonlocal failed
        if name not in wanted:
            return
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            result = measure()
        except Exception as error:  # noqa: BLE001 - the row shows it, the other measurements go on
            failed += 1
            rows.append(Figure(name, "", "failed", False, f"{type(error).__name__}: {error}"[:200]))
            return
        rows.extend(result if isinstance(result, list) else [result])

    attempt("ports", lambda: list(importlib.import_module("bench.measure_ports").figures()))
    if set(wanted) <= ALONE:
        return rows, failed
    clip = shared() / "media" / "idle-woman-1280x720-30fps.mp4"
    avatars, took = prepared(AVATAR, clip)
    if "prepare" in wanted:
        rows.append(Figure("preparing the 9.4 s 720p clip", "< 15 s wall", f"{took:.1f} s", took < 15, "whole command"))
    with server(avatars) as running:
        if "start" in wanted:
            ready = running.ready_after
            rows.append(Figure("second start to ready", "< 5 s", f"{ready:.1f} s", ready < 5))
        attempt("wire", lambda: asyncio.run(measure_wire.measure(running, avatars, AVATAR)))
        with chromium(running) as browser:
            attempt("first-frame", lambda: measure_live.first_frame(running, browser, AVATAR))
            attempt("one", lambda: measure_live.one_session(running, browser, AVATAR, seconds))
            attempt("sync", lambda: measure_sync.in_browser(running, browser, AVATAR))
            attempt("four", lambda: measure_live.four_sessions(running, browser, AVATAR, min(30.0, seconds)))
            attempt("stall", lambda: measure_live.stall(running, browser, AVATAR))
    if "memory" in wanted:
        with server(avatars) as running, chromium(running) as browser:
            attempt("memory", lambda: measure_live.second_session_memory(running, browser, AVATAR))
    attempt("talk", lambda: list(importlib.import_module("bench.measure_talk").figures(avatars, AVATAR)))
    attempt("listen", lambda: list(importlib.import_module("bench.measure_listening").figures(avatars, AVATAR)))
    attempt("mouth", lambda: list(importlib.import_module("bench.audio_to_mouth").figures(shared())))
    attempt("warp", lambda: list(importlib.import_module("bench.warp_cost").figures(avatars / AVATAR)))
    return rows, failed


def keep(text: str) -> None:
    """docs/benchmarks.md holds the last full run; the sections below its table, written by hand, stay."""
    today = datetime.date.today().isoformat()
    page = ROOT / "docs" / "benchmarks.md"
    _, heading, rest = (page.read_text() if page.exists() else "").partition("\n## ")
    page.write_text(
        "# Benchmarks\n\n"
        "The last full run of `make bench`. Chromium, the server and the measuring program share the cores.\n\n"
        f"{today}, {machine.describe()}\n\n{text}\n{heading}{rest}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
