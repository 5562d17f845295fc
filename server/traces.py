"""Turns as traces: one line each in the log, the newest in memory for operators, all of them in the figures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from pipeline.events import Event
from pipeline.moments import Mark, unmarked
from pipeline.stats import SessionStats
from pipeline.trace import STAGES, Interruption, Tracer, Turn
from server.admission import Refusal
from server.session import Session, iso

log = structlog.get_logger(__name__)

KEPT = 200
"""Turns in memory, of all sessions. Some 200 kB; there is no text in them."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A turn of a session. at: when it ended, time.time()."""

    at: float
    session_id: str
    avatar_id: str
    turn: Turn


class Traces:
    """Implements server.sessions.Observer. turned, interrupted: take what was traced, for the figures."""

    def __init__(
        self,
        turned: Callable[[Turn], None] = lambda turn: None,
        interrupted: Callable[[Interruption], None] = lambda interruption: None,
        *,
        kept: int = KEPT,
    ) -> None:
        self._turned = turned
        self._interrupted = interrupted
        self._newest: deque[Traced] = deque(maxlen=kept)
        self._tracers: dict[str, Tracer] = {}
        self._last: dict[str, float] = {}

    def created(self, session: Session) -> None:
        tracer = self._tracers[session.id] = Tracer()
        session.observers.append(partial(self._event, session, tracer))

    def refused(self, refusal: Refusal) -> None:
        """There is nothing to trace."""

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        if session.ended:
            self._tracers.pop(session.id, None)
            self._last.pop(session.id, None)

    def mark(self, session: Session) -> Mark:
        """What takes the moments of a session's utterances."""
        tracer = self._tracers.get(session.id)
        return unmarked if tracer is None else tracer.mark

    def newest(self, count: int, session_id: str | None = None) -> list[Traced]:
        """The newest first."""
        found = [each for each in reversed(self._newest) if session_id is None or each.session_id == session_id]
        return found[:count]

    def say_to_sound(self, session_id: str) -> float | None:
        """Seconds, of the session's newest turn that was heard; None: there was none."""
        return self._last.get(session_id)

    def _event(self, session: Session, tracer: Tracer, event: Event) -> None:
        match tracer.event(event, time.monotonic()):
            case Turn() as turn:
                self._newest.append(Traced(time.time(), session.id, session.avatar_id, turn))
                if turn.say_to_sound is not None:
                    self._last[session.id] = turn.say_to_sound
                self._turned(turn)
                log.info("turn", session=session.id, utterance=turn.utterance_id, **figures(turn))
            case Interruption() as interruption:
                self._interrupted(interruption)
                log.info("interruption", session=session.id, by=interruption.by, silent_ms=_ms(interruption.seconds))


def figures(turn: Turn) -> dict[str, Any]:
    """A turn in one line: what it was, and when each stage was reached, in ms since it began."""
    return {
        "kind": turn.kind,
        "outcome": turn.outcome,
        "characters": turn.characters,
        "waited_ms": _ms(turn.waited),
        **{f"{stage}_ms": _ms(turn.stages[stage]) if stage in turn.stages else None for stage in STAGES},
        "total_ms": _ms(turn.seconds),
        "spoken_ms": _ms(turn.spoken),
    }


def described(traced: Traced) -> dict[str, Any]:
    """As the API shows it."""
    return {
        "at": iso(traced.at),
        "session_id": traced.session_id,
        "avatar_id": traced.avatar_id,
        "utterance_id": traced.turn.utterance_id,
        **figures(traced.turn),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
