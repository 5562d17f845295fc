"""A child under limits is stopped by each of them, says which, and is never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from avatars.sandbox import Limits, run_limited

QUICK = Limits(cpu_seconds=5, memory_bytes=400 << 20, file_bytes=1 << 20, wall_seconds=20, nice=0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_child_runs_and_its_lines_are_heard() -> None:
    lines: list[str] = []
    ended = await run_limited(
        python("import sys; print('one'); print('x' * 100_000); print('two'); sys.exit(3)"),
        limits=QUICK,
        on_line=lines.append,
    )
    assert (ended.returncode, ended.reason) == (3, None)
    assert lines == ["one", "two"]  # the endless line is dropped


async def test_the_end_of_the_error_output_is_kept() -> None:
    ended = await run_limited(python("import sys; sys.stderr.write('a' * 50_000 + 'the end')"), limits=QUICK)
    assert ended.stderr_tail.endswith("the end")
    assert len(ended.stderr_tail) == 8192


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("while True: pass", Limits(cpu_seconds=1, wall_seconds=20, nice=0), "cpu"),
        ("x = bytearray(900 << 20)", QUICK, "memory"),
        ("import numpy; numpy.ones(200 << 20)", QUICK, "memory"),
        ("open('big', 'wb').write(bytes(2 << 20))", QUICK, "size"),
        ("import time; time.sleep(60)", Limits(wall_seconds=0.5, nice=0), "time"),
        ("import os; os.abort()", QUICK, "signal"),
    ],
)
async def test_each_limit_stops_the_child_and_is_named(tmp_path: Path, code: str, limits: Limits, reason: str) -> None:
    ended = await run_limited(python(code), limits=limits, cwd=tmp_path)
    assert ended.reason == reason
    assert ended.returncode != 0


async def test_the_number_of_open_files_is_limited() -> None:
    ended = await run_limited(python("x = [open('/dev/null') for _ in range(100)]"), limits=QUICK)
    assert "Too many open files" in ended.stderr_tail


async def test_a_child_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    lines: list[str] = []
    await run_limited(python("import os; print(*os.environ)"), limits=QUICK, on_line=lines.append, env={"MINE": "1"})
    assert "OPENAI_API_KEY" not in lines[0]
    assert "MINE" in lines[0]


async def test_a_cancelled_caller_takes_the_whole_group_along() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    code = (
        "import os, subprocess, time\n"
        "grandchild = subprocess.Popen(['sleep', '60'])\n"
        "print(os.getpid(), grandchild.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    task = asyncio.create_task(run_limited(python(code), limits=QUICK, on_line=heard.put_nowait))
    pids = [int(pid) for pid in (await asyncio.wait_for(heard.get(), 10)).split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pids)


async def test_children_die_with_a_server_that_is_killed() -> None:
    code = (
        "import asyncio, sys\n"
        "from avatars.sandbox import *\n"
        "child = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "say = lambda line: print(line, flush=True)\n"
        "asyncio.run(run_limited([sys.executable, '-c', child], limits=Limits(), on_line=say))\n"
    )
    server = await asyncio.create_subprocess_exec(
        *python(code), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert server.stdout is not None
        line = await asyncio.wait_for(server.stdout.readline(), 20)
    finally:
        server.send_signal(signal.SIGKILL)
        await server.wait()
    await gone([int(line)])


async def gone(pids: list[int]) -> None:
    """Wait until no process of these is left but as a zombie that waits for a stranger to reap it."""

    def alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, f"still there: {[pid for pid in pids if alive(pid)]} of {os.getpid()}"
        await asyncio.sleep(0.02)
