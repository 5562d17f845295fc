"""Starts Python processes that load torch: what they inherit, and how a worker is connected."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.lipsync.musetalk.memory import Memory
from pipeline.lipsync.musetalk.messages import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]


def start_worker(settings: WorkerSettings, memory: Memory) -> tuple[subprocess.Popen[bytes], Connection]:
    """A worker process in a group of its own, and the connection to it. Closes the memory's descriptor here."""
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline.lipsync.musetalk.worker",
                str(theirs.fileno()),
                str(memory.fd),
            ],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), memory.fd),
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        memory.close_fd()
    connection = Connection(ours.detach())
    connection.send(settings)
    return process, connection


def environment() -> dict[str, str]:
    """The server's environment without its own settings, some of which are secret; and no network for the models."""
    secret = ("LECTERN_", "WEBRTC_", "DATABASE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    kept = {name: value for name, value in kept.items() if not any(word in name for word in ("KEY", "TOKEN", "PASSW"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
