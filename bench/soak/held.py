"""What a server holds at a moment: its own memory, file descriptors, threads and tasks."""

from __future__ import annotations

import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import psutil

from bench.serving import Server

STEADY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """memory: unique set size of the server and its children, MB. files: descriptors, but for the database's, whose few
    connections are made when two want it at once. tasks: of the event loop.
    """

    memory: float
    files: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.memory:.1f} MB, {self.files} files, {self.threads} threads, {self.tasks} tasks"


def held(server: Server, limit: float = 30.0) -> Held:
    """What it holds once nothing of it changes any more: the same files, threads and tasks twice in a row."""
    end = time.monotonic() + limit
    seen = _look(server)
    while time.monotonic() < end:
        time.sleep(STEADY_SECONDS)
        now = _look(server)
        if (now.files, now.threads, now.tasks) == (seen.files, seen.threads, seen.tasks):
            return now
        seen = now
    return seen


def _look(server: Server) -> Held:
    processes = server.processes()
    return Held(
        server.memory(),
        sum(process.num_fds() - _of_database(process) for process in processes),
        sum(process.num_threads() for process in processes),
        _tasks(server),
    )


def _of_database(process: psutil.Process) -> int:
    return sum(Path(file.path).name.startswith("lectern.db") for file in process.open_files())


def _tasks(server: Server) -> int:
    with urllib.request.urlopen(urljoin(server.url, "/metrics"), timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"^lectern_tasks (\S+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("/metrics has no lectern_tasks")
    return round(float(found[1]))
