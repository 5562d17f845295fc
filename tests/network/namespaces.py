"""Machines that are none: network namespaces of this one, joined by cables (veth pairs) and taken away again."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.debian import program
from tests.needs import missing

PREFIX = "lectern"
SECONDS = 60.0

_CLONE_NEWNET = 0x40000000
_Any = TypeVar("_Any")


class Namespace:
    """One machine: an address on each cable, nothing else reachable from it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *words: str | Path) -> list[str]:
        """The words that run a command there; it ends when its parent does."""
        return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path, text: str | None = None) -> str:
        """Run a command to its end; AssertionError with what it said if it fails."""
        return _run(*self.command(*words), text=text)

    def inside(self, call: Callable[[], _Any]) -> _Any:
        """Call something there. A socket that it makes belongs there for good, whoever uses it."""

        def enter() -> _Any:
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            return call()

        with ThreadPoolExecutor(1) as thread:  # only this thread moves there, and it ends
            return thread.submit(enter).result(SECONDS)

    def tcp(self) -> socket.socket:
        """A TCP socket of that machine, for asyncio."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.setblocking(False)
            return made

        return self.inside(make)


class Network:
    """`with Network() as network`: namespaces that are gone afterwards, with all that runs in them."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def __enter__(self) -> Network:
        program("ip", "iproute2", places="/usr/sbin")
        if os.geteuid() != 0:
            missing("network namespaces need root")
        _sweep()
        return self

    def __exit__(self, *exc: object) -> None:
        for name in self._names:
            _remove(name)

    def machine(self, role: str) -> Namespace:
        """A new machine that reaches itself only."""
        name = f"{PREFIX}-{os.getpid()}-{len(self._names)}-{role}"
        try:
            _run("ip", "netns", "add", name)
        except AssertionError as error:
            missing(f"network namespaces cannot be made here: {error}")
        self._names.append(name)
        made = Namespace(name)
        made.run("ip", "link", "set", "lo", "up")
        return made

    def join(self, one: Namespace, other: Namespace, subnet: str) -> tuple[str, str]:
        """A cable between two machines; their addresses on it: the subnet's (like "10.81.1") .1 and .2."""
        ends = f"{subnet}.1", f"{subnet}.2"
        links = [f"v{subnet.replace('.', '')[-10:]}{end}" for end in "ab"]
        _run(
            *("ip", "link", "add", links[0], "netns", one.name, "type", "veth"),
            *("peer", "name", links[1], "netns", other.name),
        )
        for machine, link, address in zip((one, other), links, ends, strict=True):
            machine.run("ip", "address", "add", f"{address}/24", "dev", link)
            machine.run("ip", "link", "set", link, "up")
        return ends


def _run(*words: str, text: str | None = None) -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip() or done.returncode}"
    return done.stdout


def _remove(name: str) -> None:
    """End what still runs in it, then take it away."""
    listed = subprocess.run(("ip", "netns", "pids", name), capture_output=True, text=True, timeout=SECONDS, check=False)
    for each in listed.stdout.split():
        try:
            os.kill(int(each), signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(("ip", "netns", "delete", name), capture_output=True, timeout=SECONDS, check=False)


def _sweep() -> None:
    """Take away what an earlier run left that was killed itself: its number is in the names."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        number = path.name.split("-")[1]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            _remove(path.name)
