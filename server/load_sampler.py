"""Measures, once a second, how busy the machine is and whether running sessions' pictures leave late."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from pipeline.stats import SessionStats
from server.load import Load, Sample
from server.loop_meter import LoopMeter, meter
from server.machine import Machine
from server.sessions import Sessions

log = structlog.get_logger(__name__)

SAMPLE_SECONDS = 1.0


class LoadSampler:
    """Owns the task that puts samples into `load`."""

    def __init__(self, load: Load, sessions: Sessions, machine: Machine) -> None:
        self._load = load
        self._sessions = sessions
        self._machine = machine
        self._pictures: dict[str, tuple[int, int]] = {}  # made and skipped, as of the last sample
        self._meter: LoopMeter | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._meter = meter()
        self._task = asyncio.create_task(self._run(), name="load-sampler")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            try:
                self.sample(time.monotonic())
            except Exception:
                log.exception("load_sample_failed")

    def sample(self, now: float) -> None:
        """Take one sample: well below a millisecond."""
        cpu, own = self._machine.read()
        stats = {}
        for session in self._sessions.all():
            if session.live is not None:
                with contextlib.suppress(Exception):  # whoever asks for them is told; here one session less counts
                    stats[session.id] = session.live.stats()
        late = max((each.release_late_ms or 0.0 for each in stats.values()), default=0.0) / 1000
        skipped = max((self._skipped(session_id, each) for session_id, each in stats.items()), default=0.0)
        self._pictures = {key: (each.pictures, each.pictures_skipped) for key, each in stats.items()}
        loop = self._meter.busy() if self._meter is not None else 0.0
        self._load.add(Sample(now, cpu, own, self._sessions.awake, late, skipped, loop), self._sessions.limits)

    def _skipped(self, session_id: str, now: SessionStats) -> float:
        """The share of its pictures left out since the last sample."""
        made, skipped = self._pictures.get(session_id, (0, 0))
        lost, wanted = now.pictures_skipped - skipped, now.pictures - made + now.pictures_skipped - skipped
        return lost / wanted if wanted > 0 and lost > 0 else 0.0
