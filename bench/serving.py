"""A Lectern server of its own for a measurement: started, asked over HTTP, watched from outside, and stopped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import psutil

from bench.speech import LONG, LONG_SECONDS

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "bench"


def shared() -> Path:
    """The folder with the real clips; LECTERN_SHARED overrides its place beside the repository."""
    folder = Path(os.environ.get("LECTERN_SHARED", ROOT.parent / "shared"))
    if not (folder / "media").is_dir():
        raise SystemExit(f"The clips are missing: no folder {folder / 'media'}. Set LECTERN_SHARED to where they are.")
    return folder


@dataclass(frozen=True, slots=True)
class Session:
    """What POST /v1/sessions answered."""

    id: str
    token: str
    whep: str
    socket: str


class NoRoom(RuntimeError):
    """The server refused a session, as it is busy."""


@dataclass(slots=True)
class Server:
    """A running server process and its address."""

    url: str
    process: subprocess.Popen[bytes]
    ready_after: float

    def call(self, method: str, path: str, body: Any = None, timeout: float = 30) -> Any:
        """One request with a JSON body; the JSON answer, or None.

        Raises on any failure, with the problem's text: NoRoom for 503, else RuntimeError.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(urljoin(self.url, path), data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            kind = NoRoom if error.code == 503 else RuntimeError
            raise kind(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error
        return json.loads(text) if text else None

    def session(self, avatar_id: str) -> Session:
        made = self.call("POST", "/v1/sessions", {"avatar_id": avatar_id, "student_id": "bench", "tutor_id": avatar_id})
        return Session(
            id=made["session_id"],
            token=made["engine_token"],
            whep=urljoin(self.url, made["whep_url"]),
            socket=urljoin(self.url.replace("http", "ws", 1), made["engine_url"]),
        )

    def say(self, session: Session, text: str) -> str:
        return str(self.call("POST", f"/v1/sessions/{session.id}/say", {"text": text})["utterance_id"])

    def talk(self, session: Session, minutes: float) -> None:
        """Have it speak for at least that long, in utterances that follow each other."""
        for _ in range(max(1, math.ceil(minutes * 60 / LONG_SECONDS))):
            self.say(session, LONG)

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def cpu(self) -> float:
        """CPU seconds of the server and its children so far."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def cores(self, seconds: float) -> float:
        """CPU seconds a second over the coming `seconds`."""
        before, start = self.cpu(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu() - before) / (time.monotonic() - start)

    def memory(self) -> float:
        """Memory that belongs to the server alone (unique set size), in MB; shared file caches do not count."""
        return sum(process.memory_full_info().uss for process in self.processes()) / 1e6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_NO_LIMITS = {
    "LECTERN_SESSIONS__MAX_CPU_PERCENT": "100",
    "LECTERN_SESSIONS__MAX_LOOP_PERCENT": "100",
    "LECTERN_SESSIONS__MAX_LATE_MS": "0",
}
"""What is measured here is how the server fares when it is too busy."""


@contextlib.contextmanager
def server(avatars: Path, *, module: str | None = None, limits: bool = False, **environment: str) -> Iterator[Server]:
    """Run `run.py serve` on a free port with that avatars folder; stopped (by its own process group) at the end.

    module: run instead of run.py, with the same arguments. limits: it refuses sessions when it is busy, as shipped.
    """
    port = free_port()
    log = WORK / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, **_own(avatars), "MAX_SESSIONS": "16", **({} if limits else _NO_LIMITS), **environment}
    started = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *(["-m", module] if module else [str(ROOT / "run.py")]), "serve", "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    running = Server(f"http://127.0.0.1:{port}", process, 0.0)
    try:
        while True:
            with contextlib.suppress(OSError, RuntimeError):
                running.call("GET", "/health", timeout=2)
                break
            if process.poll() is not None or time.monotonic() - started > 60:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        running.ready_after = time.monotonic() - started
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def prepared(avatar_id: str, video: Path) -> tuple[Path, float]:
    """A fresh avatars folder with that one avatar, and the wall seconds that making it took."""
    avatars = WORK / "avatars"
    if (avatars / avatar_id / "avatar.json").exists():
        subprocess.run(
            [sys.executable, "run.py", "avatar", "delete", avatar_id], cwd=ROOT, env=_env(avatars), check=True
        )
    for left in avatars.parent.glob("lectern.db*"):  # of an earlier measurement
        left.unlink()
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "run.py", "avatar", "create", avatar_id, str(video)],
        cwd=ROOT,
        env=_env(avatars),
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return avatars, time.monotonic() - start


def _env(avatars: Path) -> dict[str, str]:
    return {**os.environ, **_own(avatars)}


def _own(avatars: Path) -> dict[str, str]:
    """Everything of the server in the folder of its avatars; nothing of the operator's own."""
    return {
        "AVATARS_DIR": str(avatars),
        "DATABASE_URL": f"sqlite:///{avatars.parent / 'lectern.db'}",
        "LECTERN_ACCESS__KEYS_FILE": str(avatars.parent / "keys.json"),
        "LECTERN_ACCESS__TOKEN_FILE": str(avatars.parent / "token.secret"),
    }
