"""What signals ask for: to drain first, or to end at once."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from server.drain import Drain
from server.ending import Ending

LIMIT = 5.0


@dataclass
class FakeDrain:
    """Is over when it is told so."""

    started: list[tuple[float, bool]] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, seconds: float, *, stopping: bool) -> None:
        self.started.append((seconds, stopping))

    async def over(self) -> None:
        await self.finished.wait()


def ending(drain: FakeDrain, *, seconds: float = 30.0, connected: int = 1) -> tuple[Ending, list[str]]:
    said: list[str] = []
    made = Ending(cast(Drain, drain), seconds=lambda: seconds, connected=lambda: connected, say=said.append)
    return made, said


async def within(awaitable: Any) -> None:
    async with asyncio.timeout(LIMIT):
        await awaitable


async def waits(task: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_drains_until_the_last_has_finished(number: signal.Signals) -> None:
    drain = FakeDrain()
    end, said = ending(drain)
    task = asyncio.create_task(end.wait())
    assert await waits(task)
    end.signalled(number)
    assert drain.started == [(30.0, True)]
    assert await waits(task)
    drain.finished.set()
    await within(task)
    assert bool(said) == (number is signal.SIGINT)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(second: signal.Signals) -> None:
    end, _ = ending(FakeDrain())
    end.signalled(signal.SIGTERM)
    task = asyncio.create_task(end.wait())
    assert await waits(task)
    end.signalled(second)
    await within(task)


async def test_ctrl_c_waits_for_nobody_where_nobody_is() -> None:
    drain = FakeDrain()
    end, said = ending(drain, connected=0)
    end.signalled(signal.SIGINT)
    await within(end.wait())
    assert drain.started == []
    assert said == []


async def test_no_time_to_drain() -> None:
    drain = FakeDrain()
    end, _ = ending(drain, seconds=0)
    end.signalled(signal.SIGTERM)
    await within(end.wait())
    assert drain.started == []
