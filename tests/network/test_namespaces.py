"""That the tests' own networks go away, whatever happens to who made them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.network.namespaces import Network

LEAVING = """
import os, signal, subprocess, sys, time
from tests.network.namespaces import Network
with Network() as network:
    machine = network.machine("left")
    words = ["ip", "netns", "exec", machine.name, "sleep", "300"]
    left = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pids = ["ip", "netns", "pids", machine.name]
    while str(left.pid) not in subprocess.run(pids, capture_output=True, text=True).stdout.split():
        time.sleep(0.05)  # it is not in there yet
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
        assert _ends(int(pid))
        assert (Path("/run/netns") / kept.name).exists()
    assert not (Path("/run/netns") / kept.name).exists()


def _ends(pid: int) -> bool:
    """Whether it is gone, or only waits to be fetched by its parent; a kill takes effect in its own time."""
    for _ in range(100):
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_the_name_tells_whose_it_is() -> None:
    with Network() as network:
        assert f"-{os.getpid()}-" in network.machine("mine").name
