"""Runs a child process under limits of CPU time, memory, file size, open files and wall time; always reaped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_TAIL = 8192  # bytes of the error output that are kept
_LINE = 65536  # bytes; a longer line of output is dropped
_PIPE_SECONDS = 2.0
_LAUNCHER = str(Path(__file__).with_name("sandbox_exec.py"))
# Names only: a child that reads hostile data gets no keys and no passwords from the server's environment.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_MEMORY_WORDS = ("MemoryError", "Cannot allocate memory", "bad_alloc", "Insufficient memory", "OutOfMemoryError")
_SIZE_WORDS = ("File too large",)

Reason = Literal["cpu", "memory", "time", "size", "signal"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use. memory counts what it allocates (RLIMIT_DATA: private writable pages; address space that is
    only reserved or maps a file does not count). nice: added to the niceness."""

    cpu_seconds: int = 120
    memory_bytes: int = 2 << 30
    file_bytes: int = 4 << 30
    open_files: int = 64
    wall_seconds: float = 180.0
    nice: int = 10


@dataclass(frozen=True, slots=True)
class Completed:
    """How a child ended. returncode: as of the process, negative for a signal. stderr_tail: the end of what it said.

    reason: the limit that stopped it (cpu, memory, time, size), "signal" for another violent end (a crash), None when
    it ended by itself; a non-zero returncode without a reason is the child's own answer.
    """

    returncode: int
    stderr_tail: str
    reason: Reason | None


async def run_limited(
    args: Sequence[str],
    *,
    limits: Limits,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run `args` (searched on PATH) to its end, in a process group of its own, without standard input.

    on_line: given each line of its standard output, without the line's end, on the event loop. env: added to the few
    harmless names that are passed on. When the caller is cancelled, or the wall time is over, or this process dies, the
    whole group is killed. Raises OSError when the launcher itself cannot start.
    """
    spec = json.dumps(
        {
            "parent": os.getpid(),
            "nice": limits.nice,
            "rlimits": [
                # SIGXCPU at the soft limit says what happened; SIGKILL follows for a child that ignores it.
                ("RLIMIT_CPU", limits.cpu_seconds, limits.cpu_seconds + 2),
                ("RLIMIT_DATA", limits.memory_bytes, limits.memory_bytes),
                ("RLIMIT_FSIZE", limits.file_bytes, limits.file_bytes),
                ("RLIMIT_NOFILE", limits.open_files, limits.open_files),
                ("RLIMIT_CORE", 0, 0),
            ],
        }
    )
    environment = {k: os.environ[k] for k in _KEPT if k in os.environ} | _ONE_THREAD | dict(env or {})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _LAUNCHER, spec, *args),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    timed_out = False
    tail = bytearray()
    readers = [
        asyncio.create_task(_read_lines(process.stdout, on_line)),
        asyncio.create_task(_read_tail(process.stderr, tail)),
    ]
    try:
        async with asyncio.timeout(limits.wall_seconds):
            await asyncio.gather(*(asyncio.shield(reader) for reader in readers))
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        _kill_group(process.pid)
        await asyncio.shield(_reap(process, readers))
    code = process.returncode if process.returncode is not None else -signal.SIGKILL
    text = tail.decode(errors="replace")
    return Completed(code, text, "time" if timed_out else _reason(code, text))


async def _reap(process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]]) -> None:
    """Collect a killed child; its pipes end with its group, but for a grandchild that left the group."""
    # asyncio's wait() returns when the pipes are closed too, so it is bounded as they are.
    waiting: list[asyncio.Task[Any]] = [asyncio.create_task(process.wait()), *readers]
    await asyncio.wait(waiting, timeout=_PIPE_SECONDS)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _reason(code: int, text: str) -> Reason | None:
    if code == 0:
        return None
    if code == -signal.SIGXCPU:
        return "cpu"
    if code == -signal.SIGXFSZ or any(word in text for word in _SIZE_WORDS):
        return "size"
    if any(word in text for word in _MEMORY_WORDS):
        return "memory"
    return "signal" if code < 0 else None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # already gone, all of it
        os.killpg(pid, signal.SIGKILL)


async def _read_lines(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> None:
    kept, dropping = b"", False
    while chunk := await stream.read(_LINE):
        *lines, kept = (kept + chunk).split(b"\n")
        for line in lines:
            if on_line is not None and not dropping and len(line) <= _LINE:
                on_line(line.decode(errors="replace").rstrip("\r"))
            dropping = False
        if len(kept) > _LINE:
            kept, dropping = b"", True
    if kept and on_line is not None and not dropping:
        on_line(kept.decode(errors="replace"))


async def _read_tail(stream: asyncio.StreamReader, tail: bytearray) -> None:
    while chunk := await stream.read(_TAIL):
        tail += chunk
        del tail[:-_TAIL]
