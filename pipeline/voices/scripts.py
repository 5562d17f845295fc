"""Writing systems: which one a character belongs to, and which runs of a text a voice has sounds for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_NAMES = {
    "LATIN": "latin",
    "FULLWIDTH": "latin",
    "CJK": "han",
    "IDEOGRAPHIC": "han",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "HALFWIDTH": "kana",
    "HANGUL": "hangul",
    "BOPOMOFO": "han",
}

_SCRIPTS_OF = {
    "zh": {"han"},
    "ja": {"han", "kana"},
    "ko": {"hangul", "han"},
    "ru": {"cyrillic"},
    "uk": {"cyrillic"},
    "bg": {"cyrillic"},
    "sr": {"cyrillic"},
    "mk": {"cyrillic"},
    "kk": {"cyrillic"},
    "mn": {"cyrillic"},
    "el": {"greek"},
    "ar": {"arabic"},
    "fa": {"arabic"},
    "ur": {"arabic"},
    "ps": {"arabic"},
    "he": {"hebrew"},
    "hi": {"devanagari"},
    "mr": {"devanagari"},
    "ne": {"devanagari"},
    "bn": {"bengali"},
    "ta": {"tamil"},
    "te": {"telugu"},
    "kn": {"kannada"},
    "ml": {"malayalam"},
    "gu": {"gujarati"},
    "si": {"sinhala"},
    "th": {"thai"},
    "lo": {"lao"},
    "km": {"khmer"},
    "my": {"myanmar"},
    "ka": {"georgian"},
    "am": {"ethiopic"},
}

# The language to look for a voice in, by script, where the script says it (Latin doesn't).
_LANGUAGE_OF = {
    "han": "zh",
    "kana": "ja",
    "hangul": "ko",
    "cyrillic": "ru",
    "greek": "el",
    "arabic": "ar",
    "hebrew": "he",
    "devanagari": "hi",
    "bengali": "bn",
    "tamil": "ta",
    "telugu": "te",
    "thai": "th",
}


@lru_cache(maxsize=4096)
def script(character: str) -> str:
    """The script of a character ("latin", "han", …), "digit", "symbol" (emoji), or "" (marks, spaces, punctuation)."""
    if character.isascii():
        return "latin" if character.isalpha() else "digit" if character.isdigit() else ""
    category = unicodedata.category(character)
    if category == "Nd":
        return "digit"
    if category[0] in "PZ" or category in ("Mn", "Me", "Cf", "Cc", "Sk", "Sc", "Sm", "No"):
        return ""
    if category[0] in "LMN":
        name = unicodedata.name(character, "unknown").split(" ", 1)[0]
        return _NAMES.get(name, name.lower())
    return "symbol" if character >= "\u2300" else ""  # "°", "©", "™" are read by every voice


def scripts(text: str) -> frozenset[str]:
    """All the scripts in a text, without "digit" and ""."""
    return frozenset(map(script, text)) - {"", "digit"}


def scripts_of(language: str) -> frozenset[str]:
    """What a voice of a language ("zh-CN", "en") reads. Every one of them reads Latin letters as well."""
    return frozenset(_SCRIPTS_OF.get(language.split("-")[0].lower(), set()) | {"latin"})


def language_of(text: str) -> str | None:
    """The language whose voice should read a text, as far as its script tells ("zh", "ja", …)."""
    found = scripts(text)
    if "kana" in found:
        return "ja"
    counts: dict[str, int] = {}
    for character in text:
        language = _LANGUAGE_OF.get(script(character))
        if language is not None:
            counts[language] = counts.get(language, 0) + 1
    return max(counts, key=lambda language: counts[language]) if counts else None


def has_sound(text: str) -> bool:
    """Whether there is anything to read in a text: a letter, a digit or a symbol (not only punctuation)."""
    return any(map(script, text))


def readable(text: str) -> str:
    """`text` without what nobody reads aloud: emoji with all that modifies them, variation selectors, characters of
    zero width (joiners only where they spell: between letters of a script that joins them).
    """
    if text.isascii():
        return text
    kept: list[str] = []
    for character in text:
        if character in _JOINERS:
            if kept and _joins(kept[-1]):
                kept.append(character)
        elif script(character) == "symbol" or _PICTURED.match(character):
            kept.append(" ")
        elif unicodedata.category(character) != "Cf" and not _SELECTOR.match(character):
            kept.append(character)
    return _LOOSE.sub(r"\1", " ".join("".join(kept).split()))


def _joins(character: str) -> bool:
    """Whether a joiner after this character may be spelling: Persian, the scripts of India and their like."""
    return script(character) not in _UNJOINED or unicodedata.category(character) in ("Mn", "Mc")


def sayable(text: str, can_say: Callable[[str], bool]) -> tuple[str, str]:
    """`text` in two, with single spaces: what can be said of it, with the punctuation that still has a place, and the
    rest.
    """
    said: list[str] = []
    left: list[str] = []
    able = True
    for character in text:
        if character.isspace():
            able = True
            said.append(" ")
            left.append(" ")
            continue
        if character not in _JOINERS and unicodedata.category(character) not in ("Mn", "Mc", "Me"):
            able = script(character) == "" or can_say(character)
        (said if able else left).append(character)
        if not able:
            said.append(_GAP)
    plain = _EMPTIED.sub(_GAP, "".join(said))
    plain = _STRANDED.sub(_one_mark, _LEADING.sub(r"\1", plain)).replace(_GAP, " ")
    return _LOOSE.sub(r"\1", " ".join(plain.split())), " ".join("".join(left).split())


def _one_mark(marks: re.Match[str]) -> str:
    """Of punctuation with nothing left between: what ends a sentence, else the first."""
    groups: list[str] = re.findall(f"[{_MARKS}]+", marks[0])
    return next((group for group in groups if _ENDING.search(group)), groups[0])


_GAP = "\ufdd0"  # never a character of a text; stands where something is left out
_MARKS = ",;:.!?…，；：、。！？"
_ENDING = re.compile("[.!?…。！？]")
_BETWEEN = rf"\s*{_GAP}[\s{_GAP}]*"
_EMPTIED = re.compile(rf"""[(\[{{"'“‘（《「『]{_BETWEEN}[)\]}}"'”’）》」』]""")
_LEADING = re.compile(rf"(^|[(\[{{“‘（《「『]){_BETWEEN}[{_MARKS}]+\s*")
_STRANDED = re.compile(f"[{_MARKS}]+(?:{_BETWEEN}[{_MARKS}]+)+")
_LOOSE = re.compile(r"\s+([.,!?;:…])")
_JOINERS = "\u200c\u200d"
_UNJOINED = frozenset({"", "digit", "latin", "han", "kana", "hangul", "cyrillic", "greek"})
_PICTURED = re.compile("[\U0001f000-\U0001faff\u20e3]")  # skin tones and keycaps, too
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
