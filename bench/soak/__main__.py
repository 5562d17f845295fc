"""`python -m bench.soak [--quick] [NAME …]`: floods, kills and soaks a server, and prints what it stood.

A full run is kept in docs/benchmarks.md. --quick: a minute of each at most, as the tests run it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import sys
from collections.abc import Callable
from pathlib import Path

from bench import figures, machine
from bench.figures import Figure
from bench.serving import ROOT, WORK, prepared, server, shared
from bench.soak import coming, flood, kills, thousand

AVATAR = "woman"
WARM = 600
"""Sessions before memory is looked at: measured, it rises until about then and stays (docs/benchmarks.md)."""
HEADING = "## What it stands (`make soak`)"
NAMES = ["flood", "thousand", "kills", "coming"]


def main(arguments: list[str]) -> int:
    """0 when every figure was reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a minute of each at most")
    parser.add_argument("--minutes", type=float, default=30.0, help="of coming and going (default: 30)")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    names, avatars = options.names or NAMES, WORK / "avatars"
    if names != ["kills"]:  # which makes avatars of its own
        avatars, _ = prepared(AVATAR, shared() / "media" / "idle-woman-1280x720-30fps.mp4")
    rows = run(avatars, AVATAR, names, quick=options.quick, minutes=options.minutes)
    text = figures.table(rows)
    print(f"\n{machine.describe()}\n\n{text}")
    if not options.names and not options.quick and options.minutes >= 30:
        keep(text)
    return 0 if all(row.reached is not False for row in rows) else 1


def run(avatars: Path, avatar_id: str, names: list[str], *, quick: bool, minutes: float = 30.0) -> list[Figure]:
    """The wanted trials, each on a server of its own; one that cannot be carried out becomes a row that says so."""
    trials: dict[str, Callable[[], list[Figure]]] = {
        "flood": lambda: _on_server(avatars, lambda it: flood.measure(it, avatar_id, 20 if quick else 60)),
        "thousand": lambda: _on_server(
            avatars, lambda it: thousand.measure(it, avatar_id, 60 if quick else 1000, 30 if quick else WARM)
        ),
        "kills": lambda: kills.measure(WORK / "kills", rounds=4 if quick else 20),
        "coming": lambda: _on_server(
            avatars, lambda it: coming.measure(it, avatar_id, 50 if quick else 60 * minutes), limits=True
        ),
    }
    rows: list[Figure] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows.extend(trials[name]())
        except Exception as error:  # noqa: BLE001 - the row shows it, the other trials go on
            rows.append(Figure(name, "", "failed", False, f"{type(error).__name__}: {error}"[:300]))
    return rows


def _on_server(avatars: Path, trial: Callable[..., object], *, limits: bool = False) -> list[Figure]:
    with server(avatars, limits=limits) as running:
        return asyncio.run(trial(running))  # type: ignore[arg-type]


def keep(text: str) -> None:
    """Put the table into its section of docs/benchmarks.md."""
    page = ROOT / "docs" / "benchmarks.md"
    before, heading, rest = page.read_text().partition(HEADING)
    after = rest.partition("\n## ")
    today = datetime.date.today().isoformat()
    section = f"{HEADING}\n\n{today}, {machine.describe()}\n\n{text}\n"
    tail = after[1] + after[2] if heading else ""
    page.write_text(f"{before.rstrip()}\n\n{section}{tail}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
