"""How long something took, of the event loop's own time: what the machine stood still meanwhile is not counted."""

from __future__ import annotations

import asyncio
from types import TracebackType

STEP = 0.02


class LoopTime:
    """`async with LoopTime() as took: …`, then took.seconds: a step that came late counts as one step."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __aenter__(self) -> LoopTime:
        self._task = asyncio.create_task(self._count(), name="loop-time")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(STEP)
            self.seconds += STEP
