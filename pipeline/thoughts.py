"""Leaves out what a reasoning model thinks aloud before its answer: nobody wants to hear it."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class Thoughts:
    """Takes an answer in any pieces, gives it without a leading `<think>…</think>`.

    Servers that know their model send its thoughts in a field of their own; others leave them in the text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"  # inside the thoughts, after them (white space is left out), or in the answer

    def feed(self, piece: str) -> str:
        """The next piece; what of it may be said."""
        if self._state == "answer":
            return piece
        self._held += piece
        if self._state == "before":
            begin = self._held.lstrip()
            if not begin.startswith(_OPEN):
                return "" if _OPEN.startswith(begin) else self._answer()
            self._state = "inside"
        if self._state == "inside":
            _, found, rest = self._held.partition(_CLOSE)
            if not found:
                return ""
            self._state, self._held = "after", rest
        self._held = self._held.lstrip()
        return self._answer() if self._held else ""

    def finish(self) -> str:
        """No more comes: what was held back because it might have become a thought."""
        return self._answer() if self._state == "before" else ""

    def _answer(self) -> str:
        self._state = "answer"
        held, self._held = self._held, ""
        return held
