"""Figures for Prometheus: what sessions did, counted as it happens, and the state of everything when asked for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Iterator
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from avatars.store import AvatarStore
from pipeline.events import Event, Problem, ProcessingStatus, SpeechEnded, SpeechStarted
from pipeline.stats import SessionStats
from server.admission import Refusal
from server.rtc.registry import PeerRegistry
from server.sessions import Session, Sessions

log = structlog.get_logger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PEERS_SECONDS = 1.0  # for the viewers' connections to tell their figures

_TURN = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
_STATES = ("active", "ready", "asleep")
_AVATARS = ("preparing", "ready", "failed")
_TOTALS = ("pictures", "pictures_skipped", "mouths", "mouths_late", "mouths_failed", "underruns", "stalls", "overflows")
_TOTAL_HELP = {
    "pictures": "Pictures encoded.",
    "pictures_skipped": "Pictures not encoded because two before them were not ready.",
    "mouths": "Mouths drawn.",
    "mouths_late": "Mouths that came too late to be shown.",
    "mouths_failed": "Mouths that the engine could not draw.",
    "underruns": "Gaps within an utterance because its sound came too late.",
    "stalls": "Times that a session's clock jumped.",
    "overflows": "Viewers' queues that were flushed.",
}


class Metrics(Collector):
    """Implements server.sessions.Observer. Holds a registry of its own, so that there may be several."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._thinking: dict[str, float] = {}  # when each session began to think, time.monotonic()
        self._past: Tally[str] = Tally()  # totals of sessions that sleep or have ended
        self._created = Counter("lectern_sessions_created", "Sessions made.", registry=registry)
        self._ended = Counter("lectern_sessions_ended", "Sessions ended, by reason.", ["reason"], registry=registry)
        self._refused = Counter(
            "lectern_admission_refused",
            "Sessions refused with 503: seats (all taken), engine (no more mouths), records (too many asleep).",
            ["cause"],
            registry=registry,
        )
        self._turn = Histogram(
            "lectern_turn_seconds",
            "From a question or a text to say until its first sound is on its way.",
            buckets=_TURN,
            registry=registry,
        )
        self._speech = Counter(
            "lectern_utterances", "Utterances that ended, by how they did.", ["reason"], registry=registry
        )
        self._problems = Counter(
            "lectern_problems", "Problems told to students, by their code.", ["code"], registry=registry
        )
        self._gauges: dict[str, Gauge] = {}
        self._totals: dict[str, float] = {}
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """prometheus_client's Collector: what sessions count for themselves."""
        for name, total in self._totals.items():
            yield CounterMetricFamily(f"lectern_{name}", _TOTAL_HELP[name], total)

    # -- as it happens ------------------------------------------------------------------------------------------

    def created(self, session: Session) -> None:
        self._created.inc()
        session.observers.append(partial(self._event, session.id))

    def refused(self, refusal: Refusal) -> None:
        self._refused.labels(refusal.cause).inc()

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """It fell asleep, or ended: then `ended` is true of it."""
        self._thinking.pop(session.id, None)
        if stats is not None:
            self._past.update({name: getattr(stats, name) for name in _TOTALS})
        if session.ended:
            self._ended.labels(reason).inc()

    def _event(self, session_id: str, event: Event) -> None:
        match event:
            case ProcessingStatus(status="thinking"):
                self._thinking[session_id] = time.monotonic()
            case SpeechStarted():
                began = self._thinking.pop(session_id, None)
                if began is not None:
                    self._turn.observe(time.monotonic() - began)
            case SpeechEnded(reason=reason):
                self._thinking.pop(session_id, None)
                self._speech.labels(reason).inc()
            case Problem(code=code):
                self._problems.labels(code).inc()

    # -- when it is asked for -----------------------------------------------------------------------------------

    async def scrape(
        self, sessions: Sessions, peers: PeerRegistry, store: AvatarStore, renderer: dict[str, Any] | None
    ) -> bytes:
        """Everything in Prometheus' text format. renderer: the engine's own figures, if it has any."""
        everybody = sessions.all()
        stats = [session.live.stats() for session in everybody if session.live is not None]
        states = Tally(
            "active" if sessions.viewers(each) else "ready" if each.live is not None else "asleep" for each in everybody
        )
        for state in _STATES:
            self._set("sessions", "Sessions, by state.", states[state], state=state)
        self._set("sessions_limit", "Sessions that may be awake at once.", sessions.limits.max_sessions)
        for name in _TOTALS:
            total = self._past[name] + sum(getattr(each, name) for each in stats)
            self._totals[name] = total
        for name, what in (("draw", "drawing a picture"), ("encode", "encoding it"), ("mouth", "drawing its mouth")):
            values = [value for each in stats if (value := getattr(each, f"{name}_ms")) is not None]
            self._set(f"{name}_seconds", f"Running mean of {what}, of all sessions.", _mean(values) / 1000)
        late = [each.release_late_ms for each in stats if each.release_late_ms is not None]
        self._set("release_late_seconds", "How late pictures leave, the worst session.", max(late, default=0) / 1000)
        self._set("sent_bits_per_second", "Of all sessions' pictures, once each.", sum(s.sent_bitrate for s in stats))
        queued = max((max(each.video_queue, each.audio_queue) for each in stats), default=0)
        self._set("tasks", "Tasks on the event loop.", len(asyncio.all_tasks()))
        self._set("viewer_queue_packets", "Packets that wait for the slowest viewer.", queued)
        await self._peers(peers, [session.id for session in everybody])
        records: Tally[str] = Tally(record.state for record in await asyncio.to_thread(store.list))
        for state in _AVATARS:
            self._set("avatars", "Avatars, by state.", records[state], state=state)
        for name in ("mouths_per_second", "capacity", "restarts", "drawn", "skipped"):
            if renderer and renderer.get(name) is not None:
                self._set(f"renderer_{name}", "Of MuseTalk's renderer; see /health.", float(renderer[name]))
        if renderer:
            self._set("renderer_ready", "1 while MuseTalk's renderer works.", renderer.get("status") == "ready")
        return generate_latest(self.registry)

    async def _peers(self, peers: PeerRegistry, session_ids: list[str]) -> None:
        self._set("viewers", "Viewers that are connected.", peers.count())
        entries = [entry for session_id in session_ids for entry in peers.of(session_id)]
        asked = [asyncio.wait_for(entry.peer.stats(), PEERS_SECONDS) for entry in entries]
        told = await asyncio.gather(*asked, return_exceptions=True)
        known = [each for each in told if not isinstance(each, BaseException)]
        if len(known) < len(told):
            log.debug("viewers_without_figures", count=len(told) - len(known))
        self._set("rtt_seconds", "Round trip to the farthest viewer.", max((s.rtt or 0.0 for s in known), default=0.0))
        self._set("loss_ratio", "Packets lost by the worst viewer.", max((s.loss or 0.0 for s in known), default=0.0))
        self._set("packets_lost", "Packets lost by viewers that are connected.", sum(s.packets_lost for s in known))

    def _set(self, name: str, what: str, value: float, **labels: str) -> None:
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = Gauge(f"lectern_{name}", what, list(labels), registry=self.registry)
            self._gauges[name] = gauge
        (gauge.labels(**labels) if labels else gauge).set(value)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
