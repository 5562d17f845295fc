"""Which written words a voice's spoken words are: "7:30 pm" is read as "seven thirty P.M."."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


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
