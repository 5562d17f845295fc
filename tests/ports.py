"""TCP ports for servers that tests start."""

from __future__ import annotations

import contextlib
import secrets
import socket


def free_port() -> int:
    """None of those that the system gives away: it stays free, also while nobody listens on it for a while."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
