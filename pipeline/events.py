"""What a session tells the world, as it happens. `type` and field names are those of the WebSocket messages."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    type: ClassVar[str] = ""

    def as_message(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """The first sound of an utterance is on its way."""

    type: ClassVar[str] = "speech_started"
    utterance_id: str
    generation: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Caption(Event):
    """A word is being heard now. start and end: seconds in the utterance."""

    type: ClassVar[str] = "caption"
    utterance_id: str
    index: int
    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpeechEnded(Event):
    """Exactly one for every utterance that was accepted. reason: finished, interrupted or failed.

    position: seconds of it that were sent. heard: the words that were heard.
    """

    type: ClassVar[str] = "speech_ended"
    utterance_id: str
    generation: int
    reason: str
    position: float
    heard: str


@dataclass(frozen=True, slots=True)
class Interrupted(Event):
    """An interruption took hold: nothing of an older generation is sent from here on."""

    type: ClassVar[str] = "interrupted"
    generation: int
    utterance_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TextStream(Event):
    """The next piece of an answer's text, as the language model writes it, mostly before it is spoken.

    demonstration: no model is configured, the tutor repeats what it was asked.
    """

    type: ClassVar[str] = "text_stream"
    utterance_id: str
    text: str
    demonstration: bool = False


@dataclass(frozen=True, slots=True)
class TextComplete(Event):
    """Exactly one for every answer: all of its text that was written (it may be spoken yet).

    reason: finished; interrupted; failed (its end is then the sentence that tells the student so).
    """

    type: ClassVar[str] = "text_complete"
    utterance_id: str
    text: str
    reason: str = "finished"
    demonstration: bool = False


@dataclass(frozen=True, slots=True)
class Transcription(Event):
    """What the student says. Until it is final it is a guess, which the next one of the same utterance_id replaces.

    Exactly one final one for each utterance_id that was told; "" then means that there were no words.
    """

    type: ClassVar[str] = "transcription"
    utterance_id: str
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class ProcessingStatus(Event):
    """What the tutor is doing: idle, listening (the student speaks), waiting (for the words of what the student said),
    thinking, speaking, interrupted (the student speaks over it, it is silent and may go on).
    """

    type: ClassVar[str] = "processing_status"
    status: str


@dataclass(frozen=True, slots=True)
class RecordingStarted(Event):
    """Picture and sound are recorded from here on: the student has to be shown that."""

    type: ClassVar[str] = "recording_started"
    recording_id: str


@dataclass(frozen=True, slots=True)
class RecordingStopped(Event):
    """Exactly one for every recording that was started. reason: stopped, session_ended, too_long, disk_full, no_room or
    failed.
    """

    type: ClassVar[str] = "recording_stopped"
    recording_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OutputStarted(Event):
    """Picture and sound are sent on to another server from here on: the student has to be shown that, too."""

    type: ClassVar[str] = "output_started"
    output_id: str


@dataclass(frozen=True, slots=True)
class OutputStopped(Event):
    """Exactly one for every output that was started."""

    type: ClassVar[str] = "output_stopped"
    output_id: str


@dataclass(frozen=True, slots=True)
class Problem(Event):
    """Something went wrong, or went on by another way; the session lives. `code` is stable.

    Codes: voice_fallback (another voice took over), cannot_say (part of the text was left out), voice_failed,
    engine_fallback, queue_full, audio_unreadable, recogniser_failed (what the student said could not be made out),
    no_words (there were none in the student's clip), and those of pipeline.language_model.ModelError.
    """

    type: ClassVar[str] = "error"
    code: str
    message: str
    utterance_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
