"""One output of a session: connects, sends, and tries again when that fails, until it is stopped."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import structlog

from pipeline.outputs.link import Link, LinkError
from pipeline.session import SessionClosed
from server.recorder.targets import Kind, Target
from server.session import Session

if TYPE_CHECKING:
    from pipeline.session import LiveSession

log = structlog.get_logger(__name__)

State = Literal["connecting", "live", "waiting", "failed"]
"""waiting: until it tries again. failed: it has given up."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries; doubled each time
STEADY_SECONDS = 10.0  # a connection that lasted so long begins the pauses anew


@dataclass(frozen=True, slots=True)
class Failure:
    """at: time.time()."""

    code: str
    message: str
    at: float


def pause(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row; chance (0..1) spreads what failed together."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, failures - 1)) * (0.75 + 0.5 * chance))


@dataclass(slots=True, eq=False)
class Output:
    """give_up: seconds without a connection after which it fails for good."""

    kind: Kind
    target: Target
    link: Link
    session: Session
    give_up: float
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created_at: float = field(default_factory=time.time)
    state: State = "connecting"
    attempts: int = 0
    connected_at: float | None = None  # time.time(), while it is live
    last_error: Failure | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)  # set when the session has another live part

    async def run(self) -> None:
        """Until it gives up, or is cancelled."""
        failures = 0
        since = time.monotonic()
        while True:
            live = await self._live()
            self.state = "connecting"
            self.attempts += 1
            begun = time.monotonic()
            try:
                await self.link.push(live, self._connected)
                failure = None
            except SessionClosed:
                failure = None
            except LinkError as error:
                failure = error
            was_live, self.connected_at = self.connected_at is not None, None
            if failure is None:  # the session stopped or fell asleep
                self.state = "waiting"
                continue
            now = time.monotonic()
            if was_live:
                since = now
            failures = 1 if was_live and now - begun >= STEADY_SECONDS else failures + 1
            self._failed(failure)
            if failure.final or now - since >= self.give_up:
                self.state = "failed"
                return
            self.state = "waiting"
            await asyncio.sleep(pause(failures, random.random()))

    async def _live(self) -> LiveSession:
        while (live := self.session.live) is None or not live.running:
            self.opened.clear()
            await self.opened.wait()
        return live

    def _connected(self) -> None:
        self.state = "live"
        self.connected_at = time.time()
        log.info("output_connected", session=self.session.id, output=self.id, kind=self.kind, host=self.target.host)

    def _failed(self, error: LinkError) -> None:
        self.last_error = Failure(error.code, str(error), time.time())
        where = {"session": self.session.id, "output": self.id, "host": self.target.host}
        log.warning("output_failed", **where, code=error.code, why=str(error))
