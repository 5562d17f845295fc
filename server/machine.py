"""How busy this machine is, by the kernel's own counters: within the CPUs, and the quota, that the server may use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_BUSY = ("user", "system", "irq", "softirq", "steal")
_NICE = ("nice",)
"""Work at a lower priority gives way to sessions: avatars being prepared, the recogniser. It counts as work only where
the server itself runs at a lower priority.
"""

_IDLE = ("idle", "iowait")

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class _Counters:
    at: float
    busy: float
    total: float
    own: float
    group: float | None


class Machine:
    """Cheap to read (two files of /proc), so that the event loop may do it.

    cores: that this process may use: its CPUs, or the quota of its cgroup (container, systemd unit) if that is less.
    """

    def __init__(self, cgroups: Path = _CGROUPS) -> None:
        self._process = psutil.Process()
        self._cpus = _allowed(self._process)
        niced = int(self._process.nice()) > 0
        self._busy: tuple[str, ...] = (*_BUSY, *_NICE) if niced else _BUSY
        self._rest: tuple[str, ...] = _IDLE if niced else (*_NICE, *_IDLE)
        self._group = _group(cgroups)
        self._quota = _quota(self._group)
        self.cores = min(float(len(self._cpus)), self._quota or float("inf"))
        self._before = self._count()

    def read(self) -> tuple[float, float]:
        """Percent (0..100) of `cores` that is busy, and that this process takes, since the last call."""
        before, now = self._before, self._count()
        seconds = now.at - before.at
        if seconds <= 0:
            return 0.0, 0.0
        self._before = now
        total = now.total - before.total
        busy = (now.busy - before.busy) / total if total > 0 else 0.0
        if self._quota and now.group is not None and before.group is not None:
            busy = max(busy, (now.group - before.group) / (seconds * self._quota))
        own = (now.own - before.own) / (seconds * self.cores)
        return min(100.0, max(0.0, 100.0 * busy)), min(100.0, max(0.0, 100.0 * own))

    def _count(self) -> _Counters:
        times = psutil.cpu_times(percpu=True)
        mine = [times[cpu] for cpu in self._cpus if cpu < len(times)]
        busy = sum(getattr(each, name, 0.0) for each in mine for name in self._busy)
        rest = sum(getattr(each, name, 0.0) for each in mine for name in self._rest)
        own = self._process.cpu_times()
        return _Counters(time.monotonic(), busy, busy + rest, own.user + own.system, _group_seconds(self._group))


def _allowed(process: psutil.Process) -> list[int]:
    try:
        return process.cpu_affinity() or list(range(psutil.cpu_count() or 1))
    except (AttributeError, OSError):  # not everywhere
        return list(range(psutil.cpu_count() or 1))


def _group(root: Path) -> Path | None:
    """The folder of this process's cgroup (version 2)."""
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                folder = root / line.removeprefix("0::").lstrip("/")
                return folder if (folder / "cpu.stat").exists() else None
    except OSError:
        return None
    return None


def _quota(group: Path | None) -> float | None:
    """Cores that the cgroup may use at once; None: any."""
    if group is None:
        return None
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _group_seconds(group: Path | None) -> float | None:
    """CPU seconds that the cgroup has used."""
    if group is None:
        return None
    try:
        for line in (group / "cpu.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec":
                return int(value) / 1e6
    except (OSError, ValueError):
        return None
    return None
