"""The words an online service reports, found again in the text as it was written."""

from __future__ import annotations

from pipeline.media import WordMark
from pipeline.voices.scripts import script

_REACH = 120  # characters: how far ahead a reported word is looked for
_UNSPACED = frozenset({"han", "kana", "thai", "lao", "khmer", "myanmar"})


class WrittenWords:
    """Turns reported words, in order, into marks of written words with their punctuation.

    Several reports within one written word ("well" and "known" in "well-known,") are one mark; so a mark is known for
    certain when the next word begins. A report that the text does not contain is shown as it was reported.
    """

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._lower = _lower(sentence)
        self._at = 0  # after the last report's own characters
        self._end = 0  # after the written word around them
        self._held: WordMark | None = None

    def report(self, text: str, start: float, end: float) -> tuple[WordMark, ...]:
        """A word as the service says it, with its place in seconds; gives the mark that is now certain, if any."""
        text = text.strip()
        if not text:
            return ()
        end = max(start, end)
        begin = self._lower.find(_lower(text), self._at, self._at + _REACH)
        if begin >= 0:
            self._at = begin + len(text)
            if begin < self._end and self._held is not None:
                self._end = max(self._end, self._at)
                self._held = WordMark(self._held.text, self._held.start, max(self._held.end, end))
                return ()
            text = self._written(begin)
        done = self.finish()
        self._held = WordMark(text, start, end)
        return done

    def finish(self) -> tuple[WordMark, ...]:
        """No more words come: the last mark."""
        held, self._held = self._held, None
        return () if held is None else (held,)

    def _written(self, begin: int) -> str:
        """The written word from `begin` to the report's end, widened to white space or the next unspaced letter."""
        sentence = self._sentence
        end = self._at
        while begin > self._end and not sentence[begin - 1].isspace():
            begin -= 1
        unspaced = script(sentence[end - 1]) in _UNSPACED
        while end < len(sentence) and not sentence[end].isspace():
            kind = script(sentence[end])
            if kind in _UNSPACED or (unspaced and kind):
                break
            end += 1
        self._end = end
        return sentence[begin:end]


def _lower(text: str) -> str:
    """In lower case, with every character at its old place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text
