"""The server's pulse: once a second, how late the event loop is, how many pictures sessions send, how links are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from server.rtc.peer import PeerStats
from server.rtc.registry import PeerRegistry
from server.sessions import Sessions

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
LINKS_BEATS = 3
"""The viewers' connections are asked at every third beat: their reports come no oftener than that."""

LINK_SECONDS = 1.0  # for a connection to tell its figures


@dataclass(frozen=True, slots=True)
class Link:
    """A session's viewers in figures, the worst of each; None: not known yet. rtt in seconds, loss 0..1."""

    viewers: int
    rtt: float | None
    loss: float | None


class Pulse:
    """Owns one task from `start` to `close`. links: by the id of the connection.

    late: told how late (s) the loop came to each beat. linked: told each connection's figures when they were asked.
    """

    def __init__(
        self,
        sessions: Sessions,
        peers: PeerRegistry,
        *,
        late: Callable[[float], None] = lambda seconds: None,
        linked: Callable[[str, PeerStats], None] = lambda entry_id, stats: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._peers = peers
        self._late = late
        self._linked = linked
        self._clock = clock
        self._pictures: dict[str, tuple[float, int]] = {}
        self._fps: dict[str, float] = {}
        self._links: dict[str, PeerStats] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def fps(self, session_id: str) -> float | None:
        """Pictures a second that the session sent at the last beat; None: it sleeps, or is too new."""
        return self._fps.get(session_id)

    @property
    def links(self) -> Mapping[str, PeerStats]:
        return self._links

    def link(self, session_id: str) -> Link:
        known = [s for entry in self._peers.of(session_id) if (s := self._links.get(entry.id)) is not None]
        return Link(
            viewers=self._peers.count(session_id),
            rtt=max((stats.rtt for stats in known if stats.rtt is not None), default=None),
            loss=max((stats.loss for stats in known if stats.loss is not None), default=None),
        )

    async def _run(self) -> None:
        beat = 0
        while True:
            due = self._clock() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._late(max(0.0, self._clock() - due))
            try:
                self._count(self._clock())
                if beat % LINKS_BEATS == 0:
                    await self._ask()
            except Exception:
                log.exception("pulse_failed")
            beat += 1

    def _count(self, now: float) -> None:
        """Pictures since the last beat. A session that was woken since begins anew."""
        before, self._pictures, self._fps = self._pictures, {}, {}
        for session in self._sessions.all():
            if session.live is None:
                continue
            pictures = session.live.stats().pictures
            self._pictures[session.id] = (now, pictures)
            then, had = before.get(session.id, (now, pictures))
            if now > then and pictures >= had:
                self._fps[session.id] = round((pictures - had) / (now - then), 1)

    async def _ask(self) -> None:
        links: dict[str, PeerStats] = {}
        for session in self._sessions.all():
            for entry in self._peers.of(session.id):
                try:
                    async with asyncio.timeout(LINK_SECONDS):
                        links[entry.id] = await entry.peer.stats()
                except TimeoutError:
                    log.warning("viewer_without_figures", session=session.id, peer=entry.id)
                else:
                    self._linked(entry.id, links[entry.id])
        self._links = links
