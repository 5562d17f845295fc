"""What is counted as it happens: sessions made, refused and ended, turns, interruptions, connections, avatar builds."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from pipeline.trace import STAGES, Interruption, Turn
from server.limits import Cause

_ANSWER = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
_STEP = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 8.0)
_FRAME = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0, 10.0)
_SILENCE = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0)
_LATE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0)
_RTT = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_LOSS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_BUILD = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)

ENDS = (
    "deleted",
    "timeout",
    "never_joined",
    "max_duration",
    "idle",
    "stopped_by_operator",
    "draining",
    "shutdown",
)


class Happened:
    """The counters and histograms of a registry. What is likely to come has its sample from the start: its first time
    is seen as a rise, too.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"lectern_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"lectern_{name}", what, labels, buckets=buckets, registry=registry)

        self.created = counter("sessions_created", "Sessions made.")
        self.ended = counter("sessions_ended", "Sessions ended, by reason.", ("reason",))
        self.refused = counter("admission_refused", "Sessions that could not start or wake, by cause.", ("cause",))
        self.first_frame = histogram(
            "first_frame_seconds",
            "Until the first picture was sent: since the viewer's offer, or since the session was asked for.",
            _FRAME,
            ("since",),
        )
        self.say_to_sound = histogram(
            "say_to_sound_seconds",
            "From a question or a text until its first sound was sent; of a spoken question, from its end.",
            _ANSWER,
            ("kind",),
        )
        self.stage = histogram(
            "turn_stage_seconds", "What each stage of a turn took after the one before it.", _STEP, ("stage",)
        )
        self.interrupt = histogram(
            "interrupt_seconds",
            "From an interruption (of a voice: from its beginning) until the last old sound had left.",
            _SILENCE,
            ("by",),
        )
        self.utterances = counter("utterances", "Utterances that ended, by how they did.", ("reason",))
        self.problems = counter("problems", "Problems told to students, by their code.", ("code",))
        self.loop_late = histogram("event_loop_late_seconds", "How late the event loop comes to what is due.", _LATE)
        self.rtt = histogram("rtt_seconds", "Round trips to viewers, each looked at every 3 s.", _RTT)
        self.loss = histogram("loss_ratio", "Packets lost by viewers, of a report's interval, looked at so.", _LOSS)
        self.packets = counter("packets_sent", "Packets sent to viewers.")
        self.lost = counter("packets_lost", "Packets that viewers report as lost.")
        self.bytes = counter("sent_bytes", "Bytes of sound and picture sent to viewers.")
        self.builds = counter("avatar_builds", "Avatar builds that ended, by outcome and code.", ("outcome", "code"))
        self.build_seconds = histogram("avatar_build_seconds", "Builds of avatars that got ready.", _BUILD)
        self._begin()

    def _begin(self) -> None:
        for cause in get_args(Cause):
            self.refused.labels(cause)
        for reason in ENDS:
            self.ended.labels(reason)
        for since in ("offer", "session"):
            self.first_frame.labels(since)
        for kind in ("typed", "spoken", "said", "played"):
            self.say_to_sound.labels(kind)
        for stage in STAGES:
            self.stage.labels(stage)
        for by in ("voice", "request"):
            self.interrupt.labels(by)
        for reason in ("finished", "interrupted", "failed"):
            self.utterances.labels(reason)
        self.builds.labels("ready", "")

    def turn(self, turn: Turn) -> None:
        if turn.say_to_sound is not None:
            self.say_to_sound.labels(turn.kind).observe(turn.say_to_sound)
        for stage, seconds in turn.steps().items():
            self.stage.labels(stage).observe(seconds)

    def interruption(self, interruption: Interruption) -> None:
        self.interrupt.labels(interruption.by).observe(interruption.seconds)

    def built(self, outcome: str, code: str, seconds: float) -> None:
        """outcome: ready, failed or cancelled. code: of a failure, else ""."""
        self.builds.labels(outcome, code).inc()
        if outcome == "ready":
            self.build_seconds.observe(seconds)
