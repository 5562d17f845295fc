"""A session's events as RTVI messages. Pure: the time comes in."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from pipeline.events import (
    Caption,
    Event,
    OutputStarted,
    OutputStopped,
    Problem,
    ProcessingStatus,
    RecordingStarted,
    RecordingStopped,
    SpeechEnded,
    SpeechStarted,
    TextComplete,
    TextStream,
    Transcription,
)
from server.notices import SessionContinues, SessionEnded, SessionEnding
from server.rtvi.messages import Message, error, message
from server.rtvi.segments import Segments

MOST_UTTERANCES = 16
"""Whose text is kept until they have been heard; a session's queue is shorter."""


_STUDENT = frozenset({"listening", "interrupted"})
"""The states in which the student speaks."""

_UNKNOWN = ""
"""The utterance that was being said when the client came."""


class Translator:
    """For one client. user_id: the student's, as transcriptions name it. status: the conversation's, when it came."""

    def __init__(self, user_id: str, status: str = "idle") -> None:
        self._user_id = user_id
        self._user_speaks = status in _STUDENT
        self._writing: str | None = None  # the utterance whose text the model writes now
        # What is said now, held or not.
        self._speaking: str | None = _UNKNOWN if status in ("speaking", "interrupted") else None
        self._heard = status == "speaking"
        self._texts: dict[str, Segments] = {}
        self._ids = itertools.count(1)

    def translate(self, event: Event, now: str) -> list[Message]:
        """The messages that tell it, in order. now: RFC 3339, for the transcriptions."""
        match event:
            case ProcessingStatus():
                return self._status(event.status)
            case Transcription():
                return self._transcription(event, now)
            case TextStream():
                return self._wrote(event)
            case TextComplete():
                return self._complete(event)
            case SpeechStarted():
                return self._started(event)
            case Caption():
                spoken = [message("bot-tts-text", {"text": event.word})]
                return spoken + self._told(event.utterance_id, lambda text: text.word(event.word))
            case SpeechEnded():
                return self._ended(event)
            case Problem():
                return [error(event.message, event.code)]
            case (
                SessionEnding()
                | SessionContinues()
                | SessionEnded()
                | RecordingStarted()
                | RecordingStopped()
                | OutputStarted()
                | OutputStopped()
            ):
                return [message("server-message", event.as_message())]
        return []

    def now(self) -> list[Message]:
        """Who speaks at this moment, for a client that has just said that it listens."""
        out = [message("user-started-speaking")] if self._user_speaks else []
        return [*out, message("bot-started-speaking")] if self._heard else out

    # -- the student --------------------------------------------------------------------------------------------

    def _status(self, status: str) -> list[Message]:
        out = []
        speaks = status in _STUDENT
        if speaks != self._user_speaks:
            self._user_speaks = speaks
            out.append(message("user-started-speaking" if speaks else "user-stopped-speaking"))
        if self._speaking is not None:
            if status == "interrupted":
                out += self._hear(False)
            elif status == "speaking":
                out += self._hear(True)
        return out

    def _transcription(self, event: Transcription, now: str) -> list[Message]:
        if not event.text:
            return []
        data = {"text": event.text, "final": event.final, "timestamp": now, "user_id": self._user_id}
        told = [message("user-transcription", data)]
        return [*told, message("user-llm-text", {"text": event.text})] if event.final else told

    # -- the tutor ----------------------------------------------------------------------------------------------

    def _wrote(self, event: TextStream) -> list[Message]:
        out = []
        if event.utterance_id != self._writing:
            self._writing = event.utterance_id
            out.append(message("bot-llm-started"))
            self._open(event.utterance_id)
        out.append(message("bot-llm-text", {"text": event.text}))
        return out + self._told(event.utterance_id, lambda text: text.add(event.text))

    def _complete(self, event: TextComplete) -> list[Message]:
        out = []
        if event.utterance_id == self._writing:
            self._writing = None
            out.append(message("bot-llm-stopped"))
        return out + self._told(event.utterance_id, lambda text: text.complete())

    def _started(self, event: SpeechStarted) -> list[Message]:
        self._speaking = event.utterance_id
        out = [message("bot-tts-started"), *self._hear(True)]
        self._open(event.utterance_id)
        return out + self._told(event.utterance_id, lambda text: text.started(event.text))

    def _ended(self, event: SpeechEnded) -> list[Message]:
        out = self._told(event.utterance_id, lambda text: text.ended(finished=event.reason == "finished"))
        self._texts.pop(event.utterance_id, None)
        if self._speaking in (event.utterance_id, _UNKNOWN):
            self._speaking = None
            out.append(message("bot-tts-stopped"))
            out += self._hear(False)
        return out

    def _hear(self, heard: bool) -> list[Message]:
        if heard == self._heard:
            return []
        self._heard = heard
        return [message("bot-started-speaking" if heard else "bot-stopped-speaking")]

    # -- its text -----------------------------------------------------------------------------------------------

    def _open(self, utterance_id: str) -> None:
        if utterance_id not in self._texts:
            self._texts[utterance_id] = Segments(self._ids)
            while len(self._texts) > MOST_UTTERANCES:
                del self._texts[next(iter(self._texts))]

    def _told(self, utterance_id: str, tell: Callable[[Segments], list[Message]]) -> list[Message]:
        text = self._texts.get(utterance_id)
        return tell(text) if text is not None else []
