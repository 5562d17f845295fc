"""An utterance's text in sentences, and how far into them the words have been heard: bot-output messages. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.sentences import SentenceSplitter
from server.rtvi.messages import Message, message

_REACH = 3  # sentences: how far ahead a word is looked for (words that no voice can say are never heard)


@dataclass(slots=True)
class _Segment:
    id: int
    text: str
    heard: int = 0  # characters

    def output(self, status: Literal["new", "in-progress", "completed"]) -> Message:
        return message(
            "bot-output",
            {
                "text": self.text,
                "aggregated_by": "sentence",
                "segment_id": self.id,
                "will_be_spoken": True,
                "spoken_status": status,
                "spoken_progress": {
                    "accumulated_text": self.text[: self.heard],
                    "remaining_text": self.text[self.heard :],
                },
            },
        )


class Segments:
    """One utterance. ids: gives each sentence its number.

    Its sentences are told once it is heard, and from then on as they come: first each as a whole, then as its words
    are heard, then that it has been heard.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._splitter = SentenceSplitter()
        self._segments: list[_Segment] = []
        self._told = 0  # segments
        self._at = 0  # the segment that is heard now
        self._spoken = False
        self._begun = False
        self._whole = False

    def add(self, text: str) -> list[Message]:
        """The next piece of the text."""
        self._begun = True
        return self._take(self._splitter.feed(text)) if not self._whole else []

    def complete(self) -> list[Message]:
        """All of the text is there."""
        if self._whole:
            return []
        self._whole = True
        return self._take(self._splitter.finish())

    def started(self, text: str) -> list[Message]:
        """It is heard from now on. text: all of it, where it is known."""
        self._spoken = True
        if text and not self._begun and not self._whole:
            return self.add(text) + self.complete()
        return self._tell()

    def word(self, word: str) -> list[Message]:
        """The next word is heard."""
        for index in range(self._at, min(self._told, self._at + _REACH)):
            segment = self._segments[index]
            found = segment.text.find(word, segment.heard)
            if found < 0:
                continue
            out = self._finish(index)
            segment.heard = found + len(word)
            if segment.text[segment.heard :].strip():
                return [*out, segment.output("in-progress")]
            return out + self._finish(index + 1)
        return []

    def ended(self, *, finished: bool) -> list[Message]:
        """It has been heard, whole or not: what was cut off is not told to be completed."""
        return self._finish(self._told) if finished else []

    def _take(self, sentences: list[str]) -> list[Message]:
        self._segments += [_Segment(next(self._ids), text) for text in sentences]
        return self._tell()

    def _tell(self) -> list[Message]:
        if not self._spoken:
            return []
        new, self._told = self._segments[self._told :], len(self._segments)
        return [
            told
            for segment in new
            for told in (segment.output("new"), message("bot-transcription", {"text": segment.text}))
        ]

    def _finish(self, end: int) -> list[Message]:
        """The segments before `end` have been heard."""
        out = []
        for segment in self._segments[self._at : end]:
            segment.heard = len(segment.text)
            out.append(segment.output("completed"))
        self._at = max(self._at, end)
        return out
