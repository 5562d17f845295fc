"""Everything that is counted in one process, and its text for Prometheus."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pipeline.events import Event, Problem, SpeechEnded
from pipeline.stats import SessionStats
from pipeline.timings import Timings
from server.admission import Refusal
from server.metrics.happened import Happened
from server.metrics.links import Links
from server.metrics.state import TOTALS, Parts, look
from server.session import Session

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Implements server.sessions.Observer. Holds a registry of its own, so that there may be several.

    timings: shared by all live sessions. happened, links: for the parts that count.
    """

    def __init__(self, version: str = "") -> None:
        self._version = version
        self.registry = CollectorRegistry()
        self.timings = Timings()
        self.happened = Happened(self.registry)
        self.links = Links(self.happened)
        self._asked: dict[str, float] = {}  # sessions that have shown no picture yet, time.monotonic()
        self._past: Tally[str] = Tally()  # totals of sessions that sleep or have ended
        self._state: list[Metric] = []
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's Collector: the state, as `scrape` has just found it."""
        yield from self._state

    def created(self, session: Session) -> None:
        self.happened.created.inc()
        self._asked[session.id] = time.monotonic()
        session.observers.append(self._event)

    def refused(self, refusal: Refusal) -> None:
        self.happened.refused.labels(refusal.cause).inc()

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """It fell asleep, or ended: then `ended` is true of it."""
        if stats is not None:
            self._past.update({name: getattr(stats, name) for name in TOTALS})
        if session.ended:
            self._asked.pop(session.id, None)
            self.happened.ended.labels(reason).inc()

    def first_picture(self, session_id: str, seconds: float) -> None:
        """A viewer was sent its first picture, so long after its offer."""
        self.happened.first_frame.labels("offer").observe(seconds)
        asked = self._asked.pop(session_id, None)
        if asked is not None:
            self.happened.first_frame.labels("session").observe(time.monotonic() - asked)

    async def scrape(self, parts: Parts) -> bytes:
        """Everything in Prometheus' text format."""
        self._state = await look(parts, self.timings, self._past, self._version)
        return generate_latest(self.registry)

    def _event(self, event: Event) -> None:
        match event:
            case SpeechEnded(reason=reason):
                self.happened.utterances.labels(reason).inc()
            case Problem(code=code):
                self.happened.problems.labels(code).inc()
