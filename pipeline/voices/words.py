"""Written words: which of them a voice's spoken ones are ("7:30 pm" is read as "seven thirty P.M."); joined to text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_UNSPACED = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
_CLOSING = re.compile(r"[,.!?;:)\]}…，。！？；：、）」』]")


def joined(words: Iterable[str]) -> str:
    """Words as they are written: with spaces, but for Chinese and Japanese, and not before closing punctuation."""
    text = ""
    for word in words:
        close = not text or _CLOSING.match(word) or _UNSPACED.match(text[-1]) or _UNSPACED.match(word)
        text += word if close else f" {word}"
    return text


def align(written: Sequence[str], spoken: Sequence[str]) -> list[tuple[int, int]]:
    """For each written word the half-open range of spoken words that read it; in order, without overlaps.

    Words that are the same are paired; what lies between two pairs is shared out in order, each written word
    in the proportion of its length. A range may be empty (a word that is not read).
    """
    plain_written = [_plain(word) for word in written]
    plain_spoken = [_plain(word) for word in spoken]
    ranges: list[tuple[int, int]] = []
    matcher = SequenceMatcher(None, plain_written, plain_spoken, autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            ranges += [(b0 + i, b0 + i + 1) for i in range(a1 - a0)]
            continue
        lengths = [max(1, len(word)) for word in plain_written[a0:a1]]
        total = sum(lengths)
        done = 0
        begin = b0
        for length in lengths:
            done += length
            end = b0 + round((b1 - b0) * done / total)
            ranges.append((begin, end))
            begin = end
    return ranges


def _plain(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word
