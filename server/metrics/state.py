"""The state of everything at the moment when Prometheus asks, as families of figures."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric

from avatars.builder import AvatarBuilder
from avatars.store import AvatarStore
from pipeline.lipsync.engine import Batches
from pipeline.timings import Spread, Timings
from server.metrics.families import counter, counters, gauge, gauges, histogram, sizes
from server.rtc.registry import PeerRegistry
from server.sessions import Sessions

STATES = ("active", "ready", "starting", "waiting", "asleep")
AVATARS = ("preparing", "ready", "failed")
BATCHES = (1, 2, 4, 8, 12, 16, 24, 32)
TOTALS = {
    "pictures": "Pictures encoded.",
    "pictures_skipped": "Pictures not encoded because two before them were not ready.",
    "pictures_late": "Pictures that were not ready at their tick and left after it.",
    "mouths": "Mouths drawn.",
    "mouths_late": "Mouths that came too late to be shown.",
    "mouths_failed": "Mouths that the engine could not draw.",
    "underruns": "Gaps within an utterance because its sound came too late.",
    "stalls": "Times that a session's clock jumped.",
    "overflows": "Viewers' queues that were flushed.",
}
PICTURE_SECONDS, PACKET_SECONDS = 0.04, 0.02


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at. checks: those of /readyz, by name. disk: total and free bytes where the avatars are.
    films: recordings that are kept.
    """

    sessions: Sessions
    peers: PeerRegistry
    store: AvatarStore
    builder: AvatarBuilder
    engine: Any
    checks: Mapping[str, bool]
    disk: tuple[int, int]
    films: int


async def look(parts: Parts, timings: Timings, past: Tally[str], version: str) -> list[Metric]:
    """past: totals of the live parts that are gone."""
    states: Tally[str] = Tally(record.state for record in await asyncio.to_thread(parts.store.list))
    return [
        gauges("info", "1; what runs here.", "version", {version: 1}),
        gauge("ready", "1 while students may be sent here (/readyz).", all(parts.checks.values())),
        gauges("ready_check", "Each check of /readyz.", "check", {name: ok for name, ok in parts.checks.items()}),
        gauge("disk_bytes", "Of the disk where the avatars are.", parts.disk[0]),
        gauge("disk_free_bytes", "Free on it.", parts.disk[1]),
        gauge("recordings", "Recordings that are kept.", parts.films),
        gauge("tasks", "Tasks on the event loop.", len(asyncio.all_tasks())),
        gauges("avatars", "Avatars, by state.", "state", {state: states[state] for state in AVATARS}),
        gauges(
            "avatar_builds_now",
            "Avatars that are built now, or wait for it.",
            "state",
            {"running": len(parts.builder.running), "waiting": len(parts.builder.waiting)},
        ),
        *_sessions(parts, past),
        *_timings(timings),
        *_engine(parts.engine, timings.mouth),
    ]


def _sessions(parts: Parts, past: Tally[str]) -> Iterator[Metric]:
    sessions = parts.sessions
    everybody = sessions.all()
    stats = [session.live.stats() for session in everybody if session.live is not None]
    tally: Tally[str] = Tally(sessions.status(session) for session in everybody)
    yield gauges("sessions", "Sessions, by state.", "state", {state: tally[state] for state in (*STATES, *tally)})
    full = sessions.occupancy()
    yield gauge("sessions_speaking", "Sessions that speak now.", full.speaking)
    yield gauge("event_loop_busy_ratio", "Of the event loop's time, over the last seconds.", full.loop / 100)
    yield gauge("cpu_busy_ratio", "Of the processors that the server may use, over the last seconds.", full.cpu / 100)
    yield gauge("refusing", "1 while a session that came now could not start.", full.refused is not None)
    yield gauge("sessions_limit", "Sessions that may be awake at once.", sessions.limits.max_sessions)
    yield gauge("viewers", "Viewers that are connected.", parts.peers.count())
    ports = parts.peers.ports
    yield gauge("media_ports", "UDP ports that they share.", ports.count)
    yield counter("datagrams_unsent", "Datagrams to viewers that the system did not take.", ports.counts.lost)
    yield counter("datagrams_strange", "Datagrams that came and belonged to no viewer.", ports.counts.strange)
    for name, what in TOTALS.items():
        yield counter(name, what, past[name] + sum(getattr(each, name) for each in stats))
    rates = [each.sent_bitrate for each in stats]
    yield gauge("sent_bits_per_second", "Of all sessions' pictures, once each.", sum(rates))
    yield gauge("sent_bits_per_second_max", "Of the session that sends most.", max(rates, default=0))
    queues = [max(each.video_queue * PICTURE_SECONDS, each.audio_queue * PACKET_SECONDS) for each in stats]
    yield gauge("viewer_queue_seconds", "What waits for the slowest viewer.", max(queues, default=0))
    ahead = max((each.ahead_seconds for each in stats), default=0)
    yield gauge("speech_queue_seconds", "Speech that was made and waits, of the session that has most.", ahead)


def _timings(timings: Timings) -> Iterator[Metric]:
    yield histogram("draw_seconds", "Drawing a picture.", timings.draw)
    yield histogram("encode_seconds", "Encoding a picture.", timings.encode)
    yield histogram("sound_encode_seconds", "Encoding 20 ms of sound.", timings.sound)
    yield histogram("mouth_seconds", "From the order of a mouth until it was there.", timings.mouth)
    yield histogram("release_late_seconds", "How late ticks come.", timings.late)
    yield histogram("av_offset_seconds", "How much later than its sound a picture leaves.", timings.offset)


def _engine(engine: Any, mouth: Spread) -> Iterator[Metric]:
    """MuseTalk tells of its batches; warp draws one mouth at a time."""
    figures: dict[str, Any] = getattr(engine, "figures", dict)()
    told: Callable[[], Batches] | None = getattr(engine, "batches", None)
    batches = told() if told is not None else Batches({1: mouth.count}, mouth)
    yield histogram("render_seconds", "One batch of mouths, on the engine.", batches.seconds, "engine", engine.name)
    yield sizes("batch_size", "Mouths a batch.", BATCHES, batches.sizes)
    yield gauge("renderer_ready", "1 while the chosen engine draws.", figures.get("status", "ready") == "ready")
    yield counter("renderer_restarts", "Times that MuseTalk's worker was started again.", figures.get("restarts", 0))
    drawn = {name: figures.get(name, 0) for name in ("drawn", "skipped")}
    yield counters("renderer_mouths", "Mouths of MuseTalk's worker since it began.", "outcome", drawn)
    for name, what in (("mouths_per_second", "measured at the start"), ("capacity", "sessions that may speak at once")):
        if figures.get(name) is not None:
            yield gauge(f"renderer_{name}", f"MuseTalk's: {what}.", figures[name])
