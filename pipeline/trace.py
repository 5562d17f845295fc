"""One turn of a conversation as a trace: when each stage of an utterance's way was reached. Pure: times come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.events import Event, Interrupted, SpeechEnded, SpeechStarted, TextComplete, TextStream
from pipeline.moments import Moment

Kind = Literal["typed", "spoken", "said", "played"]
"""How an utterance came about: a question typed, or spoken; a text to say; a recording to play."""

STAGES = ("words", "model", "sentence", "voice", "sound", "mouth")
"""In their order. words: what the student said is known. model: its first token. sentence: the first one is whole.
voice: its first sound was made. sound: the first one was sent. mouth: the first picture with a mouth was sent.
"""

MOST = 64
"""Utterances that are followed at a time; a session's queue holds fewer."""

SOUNDING = 0.06
"""An interruption this long (s) after the last sound found silence: there was nothing to interrupt."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An utterance that has ended. stages: seconds since its beginning (of STAGES, those that were reached).

    waited: seconds until those before it had ended. seconds: in all. spoken: of it that were sent. characters: of its
    text. outcome: finished, interrupted or failed.
    """

    utterance_id: str
    kind: Kind
    stages: Mapping[str, float]
    waited: float
    seconds: float
    spoken: float
    characters: int
    outcome: str

    @property
    def say_to_sound(self) -> float | None:
        """Seconds from the beginning (or its turn, if that came later) to the first sound; None: it was not heard."""
        sound = self.stages.get("sound")
        return None if sound is None else max(0.0, sound - self.waited)

    def steps(self) -> dict[str, float]:
        """Seconds that each stage took after the one before it."""
        out, before = {}, 0.0
        for name in STAGES:
            if name in self.stages:
                out[name] = max(0.0, self.stages[name] - before)
                before = max(before, self.stages[name])
        return out


@dataclass(frozen=True, slots=True)
class Interruption:
    """by: the student's voice, or a request (button, API, another question). seconds: from its beginning to silence."""

    by: Literal["voice", "request"]
    seconds: float


@dataclass(slots=True)
class _Way:
    began: float
    kind: Kind
    stages: dict[str, float] = field(default_factory=dict)
    characters: int = 0


class Tracer:
    """Follows one session's utterances. `mark` takes moments, `event` events, and gives what has ended."""

    def __init__(self) -> None:
        self._ways: dict[str, _Way] = {}
        self._free = float("-inf")  # when the last utterance ended
        self._interrupt: float | None = None
        self._silent = float("-inf")

    def mark(self, utterance_id: str, moment: Moment, at: float) -> None:
        match moment:
            case "interrupt":
                self._interrupt = at
            case "silent":
                self._silent = at
            case "typed" | "spoken" | "said" | "played":
                self._begin(utterance_id, moment, at)
            case _:
                self._reach(utterance_id, moment, at)

    def event(self, event: Event, now: float) -> Turn | Interruption | None:
        match event:
            case TextStream(utterance_id=utterance_id):
                self._reach(utterance_id, "model", now)
            case TextComplete(utterance_id=utterance_id, text=text):
                if utterance_id in self._ways:
                    self._ways[utterance_id].characters = len(text)
            case SpeechStarted(utterance_id=utterance_id, text=text):
                self._reach(utterance_id, "sound", now)
                if text and utterance_id in self._ways:
                    self._ways[utterance_id].characters = len(text)
            case SpeechEnded():
                return self._end(event, now)
            case Interrupted():
                return self._interrupted(now)
        return None

    def _begin(self, utterance_id: str, kind: Kind, at: float) -> None:
        """Again for the same utterance: its question tells more of it than that it was queued."""
        old = self._ways.pop(utterance_id, None)
        self._ways[utterance_id] = _Way(at, kind, old.stages if old is not None else {})
        while len(self._ways) > MOST:
            del self._ways[next(iter(self._ways))]

    def _reach(self, utterance_id: str, stage: str, at: float) -> None:
        way = self._ways.get(utterance_id)
        if way is not None:
            way.stages.setdefault(stage, at)

    def _end(self, event: SpeechEnded, now: float) -> Turn | None:
        free, self._free = self._free, now
        way = self._ways.pop(event.utterance_id, None)
        if way is None:
            return None
        return Turn(
            event.utterance_id,
            way.kind,
            {stage: max(0.0, way.stages[stage] - way.began) for stage in STAGES if stage in way.stages},
            max(0.0, free - way.began),
            max(0.0, now - way.began),
            event.position,
            way.characters,
            event.reason,
        )

    def _interrupted(self, now: float) -> Interruption | None:
        """Only what silenced something counts."""
        began, self._interrupt = self._interrupt, None
        since = now if began is None else min(began, now)
        if self._silent < since - SOUNDING:
            return None
        return Interruption("request" if began is None else "voice", max(0.0, self._silent - since))
