"""Text, or the tokens of a language model as they come, into sentences to speak; the first one short."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_LENGTH = 300
"""Longest piece of text (characters) given to a voice at once; longer sentences are cut at clauses, then spaces."""

_FIRST_END = 60
"""The first sentence ends at a clause if it is longer than this (characters), so that the sound starts early."""

_FIRST_WORDS = 4
_FIRST_CHARACTERS = 24
_FIRST_WIDE = 8  # Chinese characters say more each

_WINDOW = MAX_LENGTH + 40  # what is looked at to find one sentence's end
_SLICE = 4096  # of a whole text, taken at once

_CLOSERS = "\"'”’)\\]}»」』）】》*_"
_OPENERS = "\"'“‘([{«「『（【《*_"
_END = re.compile(rf"[.!?…。！？；]+[{_CLOSERS}]*|\n[\s]*")
_WIDE_ENDS = frozenset("。！？；")
_CLAUSE = re.compile(rf"[,;:][{_CLOSERS}]*(?=\s)|\s[—–-](?=\s)|—|[，、：][{_CLOSERS}]*")
_LIST_LINE = re.compile(r"(?:[-*•–+]|#{1,6}|\d{1,3}[.)])\s")
_LIST_NUMBER = re.compile(r"\d{1,3}\.$")

# Abbreviations that a sentence does not end with (lower case, without the last full stop).
_NEVER_LAST_WORDS = (
    "mr mrs ms dr prof rev gen col sgt capt lt cmdr gov sen rep hon st mt ft messrs mme mlle vs e.g i.e cf viz "
    "approx ca fig figs eq eqs vol vols pp ed eds al ex chap sec ref"
)
_NEVER_LAST = frozenset(_NEVER_LAST_WORDS.split())
# ... and those it may end with: it does, if a word follows that likes to begin a sentence.
_SELDOM_LAST_WORDS = (
    "etc inc ltd co corp jr sr dept est no nos a.m p.m u.s u.k u.n e.u ph.d b.a m.a b.c a.d d.c jan feb mar "
    "apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
_SELDOM_LAST = frozenset(_SELDOM_LAST_WORDS.split())
_STARTERS_WORDS = (
    "a an and as at but for from he her his how i if in is it its let my no now of on our she so some that the "
    "their then there these they this those to today we what when where which while who why will with yes you "
    "your"
)
_STARTERS = frozenset(_STARTERS_WORDS.split())


class SentenceSplitter:
    """Takes text in any pieces, gives whole sentences as soon as their end is certain.

    Cutting does not depend on how the text was cut into pieces. Nothing is lost but white space, control
    characters and markup (see `tidy`). Full stops of abbreviations, initials, decimals, URLs and list numbers
    do not end a sentence.
    """

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._first = True

    def feed(self, text: str) -> list[str]:
        """The next piece of text; the sentences that are now complete."""
        self._append(text)
        return list(self._take(final=False))

    def finish(self) -> list[str]:
        """No more text comes: the rest. The splitter can then be used for the next text."""
        rest = list(self._take(final=True))
        self._text, self._at, self._first = "", 0, True
        return rest

    def whole(self, text: str) -> Iterator[str]:
        """A whole text, cut lazily: what nobody takes costs nothing."""
        for begin in range(0, len(text), _SLICE):
            yield from self.feed(text[begin : begin + _SLICE])
        yield from self.finish()

    def _append(self, text: str) -> None:
        self._text = self._text[self._at :] + _printable(text)
        self._at = 0

    def _take(self, final: bool) -> Iterator[str]:
        while True:
            text = self._text
            while self._at < len(text) and text[self._at].isspace():
                self._at += 1
            window = text[self._at : self._at + _WINDOW]
            if not window:
                return
            complete = final and self._at + len(window) == len(text)
            cut = _cut(window, self._first, complete)
            if cut is None:
                return
            self._at += cut
            sentence = tidy(window[:cut])
            if sentence:
                self._first = False
                yield sentence


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a whole text, lazily."""
    return SentenceSplitter().whole(text)


def bounded(text: str, limit: int = MAX_LENGTH) -> Iterator[str]:
    """`text` in pieces of at most `limit` characters, cut at clauses, else at spaces, else anywhere."""
    text = text.strip()
    while len(text) > limit:
        cut = _forced(text, limit)
        piece = text[:cut].strip()
        if piece:
            yield piece
        text = text[cut:].lstrip()
    if text:
        yield text


def _printable(text: str) -> str:
    """Without control characters, lone surrogates and invisible formatting; new lines stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\n" or character in "\u200c\u200d":  # joiners are spelling in some scripts
        return character
    if character in "\u2028\u2029":
        return "\n"
    category = unicodedata.category(character)
    if category == "Cc" or category == "Zs":
        return " "
    return "" if category in ("Cf", "Cs") else character


_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]*)\)")
_TAG = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|em|strong|span|div|code|pre|sub|sup|ul|ol|li|h[1-6]|speak|voice|prosody|break|emphasis)"
    r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE,
)
_STARS = re.compile(r"(?<!\w)(?:[*_]{1,3}|~~|`{1,3})(?=\S)|(?<=\S)(?:[*_]{1,3}|~~|`{1,3})(?!\w)")
_LINE_MARK = re.compile(r"^(?:#{1,6}|[-*•+>])\s+")
_SPACES = re.compile(r"\s+")


def tidy(sentence: str) -> str:
    """One sentence without markup noise (Markdown marks, HTML tags) and with single spaces."""
    sentence = _LINE_MARK.sub("", sentence.strip())
    if "[" in sentence:
        sentence = _LINK.sub(r"\1", sentence)
    if "<" in sentence:
        sentence = _TAG.sub(" ", sentence)
    sentence = _STARS.sub("", sentence)
    return _SPACES.sub(" ", sentence).strip()


def _cut(text: str, first: bool, complete: bool) -> int | None:
    """Where the first sentence of `text` (no leading space) ends; None: not certain before more text comes."""
    end, open_at = _sentence_end(text, complete or len(text) == _WINDOW)
    if end is None:
        end = len(text)
        certain = complete
    else:
        certain = True
    if first and end > _FIRST_END and (open_at is None or open_at > _FIRST_END):
        clause = _first_clause(text, end if open_at is None else min(end, open_at))
        if clause is not None:
            return clause
    if end > MAX_LENGTH and (open_at is None or open_at > MAX_LENGTH):
        return _forced(text, MAX_LENGTH)
    return end if certain else None


def _sentence_end(text: str, complete: bool) -> tuple[int | None, int | None]:
    """(the end of the first sentence or None, the place that more text must decide first or None)."""
    for match in _END.finditer(text):
        end = match.end()
        if match.group()[0] == "\n":
            verdict = _ends_at_newline(text, match.start(), end, complete)
        else:
            verdict = _ends_at(text, match.start(), end, complete)
        if verdict is None:
            return None, end
        if verdict:
            return end, None
    return None, None


def _ends_at_newline(text: str, start: int, end: int, complete: bool) -> bool | None:
    """A blank line ends a sentence, so does a new list item and a line that ends with punctuation."""
    if end == len(text):
        return True if complete else None
    if text.count("\n", start, end) > 1:
        return True
    before = text[start - 1] if start else ""
    if before in ".!?…。！？；:：":
        return True
    following = text[end : end + 7]
    if _LIST_LINE.match(following):
        return True
    if len(following) < 7 and not complete and re.fullmatch(r"[-*•–+]|#{1,6}|\d{1,3}[.)]?", following):
        return None
    return False


def _ends_at(text: str, start: int, end: int, complete: bool) -> bool | None:
    """Whether the punctuation text[start:end] ends a sentence; None: what follows must be seen first."""
    marks = text[start:end]
    if end == len(text):
        return True if complete else None
    if not _WIDE_ENDS.isdisjoint(marks):
        return True
    if not text[end].isspace():
        return _wide(text[end])  # "3.14", "example.com", but "OK.你好"
    following = text[end:].lstrip()
    if not following:
        return True if complete else None
    if marks[0] in "!?":
        return not (len(marks) > 1 and marks[-1] in "\"”'’" and following[0].islower())
    if following[0].islower():
        return False
    if marks[0] == "…" or marks.startswith(".."):
        return True
    word = re.split(rf"[\s{re.escape(_OPENERS)}]", text[:start])[-1].lower()
    if _LIST_NUMBER.match(text[: start + 1]) and start < 4:
        return False
    if word in _NEVER_LAST:
        return False
    if word in _SELDOM_LAST or re.fullmatch(r"[^\W\d_](?:\.[^\W\d_])*", word):
        opened = following.lstrip(_OPENERS)
        if not opened and not complete:
            return None
        starter = re.match(r"[^\W\d_]+(?:['’][^\W\d_]+)?", opened)
        if starter is None:
            return not following[0].isdigit() and word in _SELDOM_LAST
        if starter.end() == len(opened) and not complete and starter.end() < 12:
            return None
        return starter.group().lower().split("'")[0].split("’")[0] in _STARTERS
    return True


def _first_clause(text: str, limit: int) -> int | None:
    """The end of the first clause that is worth starting with, before `limit`."""
    for match in _CLAUSE.finditer(text, 0, MAX_LENGTH):
        if match.end() >= limit:
            return None
        before = text[: match.end()]
        enough = len(before) >= _FIRST_CHARACTERS and len(before.split()) >= _FIRST_WORDS
        if enough or sum(map(_wide, before)) >= _FIRST_WIDE:
            return match.end()
    return None


def _forced(text: str, limit: int) -> int:
    """Where to cut a sentence longer than `limit`."""
    best = 0
    for match in _CLAUSE.finditer(text, limit // 3, limit):
        best = match.end()
    if best:
        return best
    space = max(text.rfind(" ", limit // 3, limit), text.rfind("\n", limit // 3, limit))
    if space > 0:
        return space
    cut = limit
    while cut > limit - 16 and (unicodedata.combining(text[cut]) or text[cut] in "\u200d\ufe0f"):
        cut -= 1
    return cut


def _wide(character: str) -> bool:
    """A character of a script that is written without spaces (Chinese, Japanese)."""
    return "\u3040" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"
