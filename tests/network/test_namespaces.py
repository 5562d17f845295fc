"""That the tests' own networks go away, whatever happens to who made them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.network.namespaces import Network

LEAVING = """
import os, signal, subprocess, sys
from tests.network.namespaces import Network
with Network() as network:
    machine = network.machine("left")
    words = ["ip", "netns", "exec", machine.name, "sleep", "300"]
    left = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(machine.name, left.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_leaves_is_taken_away_by_the_next() -> None:
    with Network():
        pass  # root, and namespaces, or a skip
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=False)
    name, pid = done.stdout.split()
    assert (Path("/run/netns") / name).exists()
    with Network() as network:
        kept = network.machine("kept")
        assert not (Path("/run/netns") / name).exists()
        assert not _runs(int(pid))
        assert (Path("/run/netns") / kept.name).exists()
    assert not (Path("/run/netns") / kept.name).exists()


def _runs(pid: int) -> bool:
    """Not gone, and not only waiting to be fetched by its parent."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_the_name_tells_whose_it_is() -> None:
    with Network() as network:
        assert f"-{os.getpid()}-" in network.machine("mine").name
