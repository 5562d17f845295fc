"""What a conversation's model is told of it: who said what, as far as it was heard, bounded in tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

MARK = "[cut off here: the student interrupted]"
"""Ends a turn of the tutor that was not heard to its end; before it stands what was heard, to the word."""

MESSAGE_TOKENS = 4
"""What a message costs beside its text: role and separators of the chat formats."""

_ASCII_A_TOKEN = 3.0
_TOKENS_A_CHARACTER = 1.5

Role = Literal["student", "tutor"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the chat format: role system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """interrupted: `text` is what was heard of more. open: it is being said still, and not told to the model yet."""

    role: Role
    text: str
    interrupted: bool = False
    open: bool = False
    utterance_id: str | None = None

    @property
    def told(self) -> str:
        """The turn as the model reads it."""
        return f"{self.text} {MARK}".lstrip() if self.interrupted else self.text


def tokens(text: str) -> int:
    """An estimate on the safe side, without a tokenizer (each model has its own): a token for three ASCII characters,
    where OpenAI's rule of thumb for English is four, and 1.5 for any other character, more than one for each.
    """
    ascii_characters = sum(character.isascii() for character in text)
    return ceil(ascii_characters / _ASCII_A_TOKEN + (len(text) - ascii_characters) * _TOKENS_A_CHARACTER)


class History:
    """The turns that still fit into `limit` tokens, oldest first; the newest two always stay."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: deque[Turn] = deque()

    @property
    def turns(self) -> Sequence[Turn]:
        return tuple(self._turns)

    def student(self, text: str) -> None:
        self._add(Turn("student", text))

    def tutor(self, text: str, *, interrupted: bool = False) -> None:
        """The tutor has said something that was no answer."""
        if text:
            self._add(Turn("tutor", text, interrupted))

    def answering(self, utterance_id: str) -> None:
        """The tutor begins to answer; its turn stands here and is told once `answered` says what was heard."""
        self._add(Turn("tutor", "", open=True, utterance_id=utterance_id))

    def answered(self, utterance_id: str, text: str, *, interrupted: bool) -> None:
        """The answer has ended: with its whole text, or interrupted after the words that were heard (perhaps none)."""
        for index, turn in enumerate(self._turns):
            if turn.open and turn.utterance_id == utterance_id:
                self._turns[index] = replace(turn, text=text, interrupted=interrupted, open=False)
                self._trim()
                return

    def messages(self, system: str) -> list[Message]:
        """For the model: the system prompt, then turns by user and assistant in strict alternation, the student first
        (some models' templates refuse anything else); what the tutor said before is told in the system prompt.
        """
        turns = [turn for turn in self._turns if not turn.open and turn.told]
        before = []
        while turns and turns[0].role == "tutor":
            before.append(turns.pop(0).told)
        if before:
            system = f"{system}\n\nYou have already said to the student: {' '.join(before)}"
        out = [Message("system", system)]
        for turn in turns:
            role = "user" if turn.role == "student" else "assistant"
            if out[-1].role == role:
                out[-1] = Message(role, f"{out[-1].content}\n{turn.told}")
            else:
                out.append(Message(role, turn.told))
        return out

    def _add(self, turn: Turn) -> None:
        self._turns.append(turn)
        self._trim()

    def _trim(self) -> None:
        total = sum(tokens(turn.told) + MESSAGE_TOKENS for turn in self._turns)
        while len(self._turns) > 2 and total > self._limit:
            gone = self._turns.popleft()
            total -= tokens(gone.told) + MESSAGE_TOKENS
