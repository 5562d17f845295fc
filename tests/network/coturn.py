"""Debian's coturn, run for a test on a free or given address."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian import program
from tests.network.namespaces import Namespace

SECRET = "north"
PORT = 3478
READY_SECONDS = 60.0


@contextmanager
def coturn(
    folder: Path, listen: str, relay: str, *, machine: Namespace | None = None, port: int = PORT
) -> Iterator[str]:
    """Runs until the end of the block. listen, relay: addresses for clients and for what is relayed. Gives its log."""
    log = folder / "turnserver.log"
    words = [
        program("turnserver", "coturn"),
        *("-n", "--no-cli", "--no-tls", "--no-dtls", "--no-stdout-log", "--simple-log", f"--log-file={log}"),
        *(f"--listening-ip={listen}", f"--listening-port={port}", f"--relay-ip={relay}"),
        *("--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=school.example", "--allow-loopback-peers"),
        *(f"--pidfile={folder / 'turnserver.pid'}", f"--userdb={folder / 'turnserver.db'}"),
    ]
    command = list(map(str, words)) if machine is None else machine.command(*words)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, listen, port, machine, log)
        yield str(log)
    finally:
        process.kill()
        process.wait(READY_SECONDS)


def _wait(process: subprocess.Popen[bytes], host: str, port: int, machine: Namespace | None, log: Path) -> None:
    """It takes TCP as well, on the same port, when it is ready."""

    def reach() -> None:
        socket.create_connection((host, port), 1).close()

    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return reach() if machine is None else machine.inside(reach)
        except OSError:
            said = log.read_text()[-500:] if log.exists() else ""
            assert process.poll() is None, f"coturn ended: {said}"
            assert time.monotonic() < deadline, f"coturn does not answer: {said}"
            time.sleep(0.05)
