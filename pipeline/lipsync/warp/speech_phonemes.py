"""Phonemes with their times -> the mouth at each frame: targets a phone, and how neighbours pull on each other."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.media import FRAME_SECONDS, MouthShape, PhonemeMark

F64 = NDArray[np.float64]

LABEL_LEAD = 0.060
"""Seconds by which the built-in voice's labels run late against its own sound; every boundary is moved earlier."""
STOP_LEAD = 0.028
"""Further seconds for the starts of p, t, k: their label begins near the burst, the lips close before it."""
JOIN_PAUSE = 0.080
"""A silence shorter than this moves no lip: its time goes half to each neighbour."""
JOIN_SPACE = 0.160
"""The same for spaces between words and stress marks, which the built-in voice gives a duration of their own."""
LAST_CONSONANT, LAST_VOWEL = 0.13, 0.24
"""Longest a sound lasts before a pause: the built-in voice's label of it holds up to 0.25 s of the silence as well."""
NEUTRAL = "ə"


class Target(NamedTuple):
    """What a phone wants of the mouth; `pull` is its dominance α against its neighbours."""

    opening: float
    width: float
    rounding: float
    teeth: float
    pull: float


TARGETS: dict[str, Target] = {
    symbol: Target(*values)
    for symbols, values in (
        ("ɑ a", (0.90, 0.05, 0.0, 0.15, 1.2)),
        ("æ", (0.85, 0.35, 0.0, 0.30, 1.2)),
        ("ɛ", (0.66, 0.35, 0.0, 0.30, 1.0)),
        ("e", (0.62, 0.45, 0.0, 0.35, 1.0)),
        ("ɐ", (0.60, 0.05, 0.0, 0.20, 0.8)),
        ("ʌ", (0.52, 0.05, 0.0, 0.20, 0.8)),
        ("ɪ ᵻ ɨ", (0.48, 0.35, 0.0, 0.40, 0.6)),
        ("i", (0.40, 0.60, 0.0, 0.50, 1.0)),
        ("ə ᵊ ɘ ɤ ɯ", (0.38, 0.0, 0.0, 0.25, 0.4)),
        ("ɚ ɜ ɝ ɞ ɵ", (0.38, -0.15, 0.30, 0.30, 0.8)),
        ("ɒ", (0.78, -0.20, 0.35, 0.10, 1.1)),
        ("ɔ", (0.50, -0.35, 0.50, 0.10, 1.1)),
        ("o", (0.48, -0.50, 0.70, 0.05, 1.1)),
        ("ʊ ʏ", (0.36, -0.40, 0.60, 0.10, 0.8)),
        ("u ʉ", (0.22, -0.65, 0.90, 0.0, 1.1)),
        ("y", (0.20, -0.50, 0.85, 0.10, 1.0)),
        ("ø œ ɶ", (0.38, -0.40, 0.65, 0.15, 1.0)),
        ("p b m ɓ", (0.0, 0.0, 0.0, 0.0, 5.0)),
        ("f v ɱ ʋ", (0.06, 0.10, 0.0, 0.90, 4.0)),
        ("ɸ β", (0.08, 0.0, 0.2, 0.3, 3.0)),
        ("w ʍ ɥ", (0.16, -0.70, 1.0, 0.0, 2.0)),
        ("s z ʦ ʣ", (0.34, 0.25, 0.0, 1.0, 1.8)),
        ("ʃ ʒ ʧ ʤ ʂ ʐ ꭧ", (0.34, -0.30, 0.55, 0.90, 1.8)),
        ("ɕ ʑ ʨ ʥ", (0.34, 0.30, 0.15, 0.90, 1.4)),
        ("t d ɾ T ʈ ɖ", (0.38, 0.15, 0.0, 0.70, 1.0)),
        ("n ɳ ɲ", (0.36, 0.15, 0.0, 0.50, 0.8)),
        ("l ɫ ɭ ʎ ɬ ɮ", (0.38, 0.10, 0.0, 0.40, 0.6)),
        ("θ ð", (0.40, 0.10, 0.0, 0.70, 1.0)),
        ("ɹ ɻ", (0.32, -0.25, 0.40, 0.30, 0.9)),
        ("r ɽ ʀ", (0.38, 0.0, 0.0, 0.50, 0.6)),
        ("j ʝ ç ɟ c", (0.32, 0.50, 0.0, 0.40, 0.7)),
        ("k ɡ g ŋ x ɣ q ɢ ɴ χ ʁ ɰ", (0.40, 0.10, 0.0, 0.30, 0.4)),
        ("h ɦ ħ ʕ ʔ", (0.50, 0.05, 0.0, 0.20, 0.15)),
    )
    for symbol in symbols.split()
}
"""Targets a phone, in IPA and in the letters of misaki, the alphabet of the built-in voice."""

SILENCE = Target(0.02, 0.0, 0.0, 0.0, 1.0)

PAIRS: dict[str, tuple[str, str, float]] = {
    "A": ("e", "ɪ", 0.55),
    "I": ("a", "ɪ", 0.60),
    "O": ("o", "ʊ", 0.55),
    "Q": ("ə", "ʊ", 0.50),
    "W": ("a", "ʊ", 0.60),
    "Y": ("ɔ", "ɪ", 0.60),
}
"""misaki's diphthongs: the two vowels and the first one's share of the time. IPA digraphs are split the same way."""

AFFRICATES = {"tʃ": "ʧ", "dʒ": "ʤ", "ts": "ʦ", "dz": "ʣ", "tɕ": "ʨ", "dʑ": "ʥ", "pf": "p", "tʂ": "ʧ", "dʐ": "ʤ"}
VOWELS = frozenset("ɑaæɛeɐʌɪᵻɨiəᵊɘɤɯɚɜɝɞɵɒɔoʊʏuʉyøœɶ")
CLOSING = frozenset("pbmɓ")
STOPS = frozenset("ptk")
JOINERS = frozenset("ˈˌ' ‿|")
LENGTHENERS = frozenset("ːˑʰʲ\u0303ʷˠˤˀ˞")
FIRST_SHARE = 0.58

# Reach of a phone's pull (seconds), before and after the middle half of its segment (Cohen & Massaro 1993).
REACH_BEFORE, REACH_AFTER = 0.040, 0.035
ROUND_BEFORE = 0.090  # lips round early: rounding above .4
CLOSE_BEFORE, CLOSE_AFTER = 0.030, 0.025
CORE = (0.25, 0.75)
CLOSE_CORE = (0.15, 0.70)
SMOOTH = 0.015
"""Gaussian sigma (s) over the blended curve before it is sampled at the frames' middles; more blurs closures."""

_STEPS = np.arange(-0.030, 0.0301, 0.006)
_WEIGHTS = np.exp(-0.5 * (_STEPS / SMOOTH) ** 2)
_WEIGHTS /= _WEIGHTS.sum()
_HORIZON = 0.5  # seconds: phones further away than this pull on nothing


@dataclass(frozen=True, slots=True)
class Phone:
    """A stretch of sound with one target: symbol "" is silence; start and end in seconds of the utterance."""

    symbol: str
    start: float
    end: float


def phones(marks: Iterable[PhonemeMark]) -> list[Phone]:
    """A voice's raw marks, in order -> phones in the sound's own time: contiguous, diphthongs split, pauses joined.

    Stretches that no mark covers are silence. Overlaps are cut at the later mark's start.
    """
    runs: list[Phone] = []
    for mark in marks:
        start, end = mark.start - LABEL_LEAD, mark.end - LABEL_LEAD
        if runs:
            last = runs[-1]
            start = max(start, last.end)
            if start - last.end > 1e-6:
                runs.append(Phone("", last.end, start))
        if end <= start:
            continue
        symbol = _normal(mark.symbol)
        goes_on = symbol == "ː" or (symbol in ("", " ") and bool(runs) and runs[-1].symbol == symbol)
        if goes_on and runs:
            runs[-1] = Phone(runs[-1].symbol, runs[-1].start, end)
        else:
            runs.append(Phone("" if symbol == "ː" else symbol, start, end))
    return _lead_stops(_split(_end_in_time(_join(runs))))


def _normal(symbol: str) -> str:
    """One of: a key of TARGETS or PAIRS, two vowels, "" (silence), " " (a joint between sounds), "ː" (go on)."""
    symbol = unicodedata.normalize("NFD", symbol)
    if symbol and all(c in LENGTHENERS for c in symbol):
        return "ː"
    if symbol and all(c in JOINERS for c in symbol):
        return " "
    letters = "".join(c for c in symbol if c in TARGETS or c in PAIRS)
    if not letters:
        spoken = any(unicodedata.category(c) in ("Ll", "Lu", "Lo", "Lm") for c in symbol)
        return NEUTRAL if spoken else ""
    if letters in TARGETS or letters in PAIRS:
        return letters
    if letters[:2] in AFFRICATES:
        return AFFRICATES[letters[:2]]
    if letters[0] in VOWELS and letters[1] in VOWELS:
        return letters[0] if letters[0] == letters[1] else letters[:2]
    closing = [c for c in letters if c in CLOSING]
    return closing[0] if closing else letters[0]


def _join(runs: list[Phone]) -> list[Phone]:
    """Give short pauses, spaces and stress marks half to each neighbour; longer ones are silence."""
    out: list[Phone] = []
    for i, run in enumerate(runs):
        if run.symbol not in ("", " "):
            start = run.start
            if out and out[-1].symbol and out[-1].end < start - 1e-9:  # a joint was left open between two sounds
                middle = 0.5 * (out[-1].end + start)
                out[-1] = Phone(out[-1].symbol, out[-1].start, middle)
                start = middle
            out.append(Phone(run.symbol, start, run.end))
            continue
        before = bool(out) and out[-1].symbol != ""
        after = i + 1 < len(runs) and runs[i + 1].symbol not in ("", " ")
        limit = JOIN_SPACE if run.symbol == " " else JOIN_PAUSE
        if before and after and run.end - run.start <= limit:
            continue
        if out and out[-1].symbol == "":
            out[-1] = Phone("", out[-1].start, run.end)
        else:
            out.append(Phone("", run.start, run.end))
    return out


def _end_in_time(runs: list[Phone]) -> list[Phone]:
    """Cut what lasts too long before a pause; the rest of it is silence."""
    out: list[Phone] = []
    for i, run in enumerate(runs):
        vowel = run.symbol in PAIRS or run.symbol[:1] in VOWELS
        end = run.start + (LAST_VOWEL if vowel else LAST_CONSONANT)
        pause = i + 1 == len(runs) or runs[i + 1].symbol == ""
        if not run.symbol or not pause or run.end <= end:
            out.append(run)
        elif i + 1 < len(runs):
            out.append(Phone(run.symbol, run.start, end))
            runs[i + 1] = Phone("", end, runs[i + 1].end)
        else:
            out += (Phone(run.symbol, run.start, end), Phone("", end, run.end))
    return out


def _split(runs: list[Phone]) -> list[Phone]:
    out: list[Phone] = []
    for run in runs:
        if run.symbol in PAIRS:
            first, second, share = PAIRS[run.symbol]
        elif len(run.symbol) == 2:
            first, second, share = run.symbol[0], run.symbol[1], FIRST_SHARE
        else:
            out.append(run)
            continue
        middle = run.start + share * (run.end - run.start)
        out += (Phone(first, run.start, middle), Phone(second, middle, run.end))
    return out


def _lead_stops(runs: list[Phone]) -> list[Phone]:
    """Start p, t, k earlier, at most by half of the phone before."""
    out: list[Phone] = []
    for run in runs:
        if run.symbol in STOPS and out:
            before = out[-1]
            start = max(run.start - STOP_LEAD, 0.5 * (before.start + before.end))
            out[-1] = Phone(before.symbol, before.start, start)
            run = Phone(run.symbol, start, run.end)
        out.append(run)
    return out


class PhonemeTrack:
    """The mouth of one utterance as its phonemes become known: `add` marks, ask for `shapes` and `speaking`."""

    def __init__(self) -> None:
        self._marks: list[PhonemeMark] = []
        self._table: F64 = np.zeros((0, 5))  # opening width rounding teeth closure
        self._spans: F64 = np.zeros((0, 5))  # core start, core end, reach before, reach after, pull
        self._sounds: F64 = np.zeros((0, 2))  # start, end of what is not silence
        self._closures: set[int] = set()
        self.known_until = 0.0
        """Seconds up to which phones are known."""

    def add(self, marks: Iterable[PhonemeMark], done: float = 0.0) -> None:
        """Take further marks (seconds of the utterance, the voice's own raw times), in order.

        done: seconds whose mouths were given already: what lies long before is forgotten, so that a long utterance
        stays cheap.
        """
        new = [m for m in marks if np.isfinite(m.start) and np.isfinite(m.end) and m.end > m.start]
        if not new:
            return
        self._marks = [m for m in self._marks if m.end >= done - 2 * _HORIZON] + new
        self._marks.sort(key=lambda m: m.start)
        self.known_until = max(self.known_until, self._marks[-1].end - LABEL_LEAD)
        self._build(phones(self._marks))

    def _build(self, runs: list[Phone]) -> None:
        if not runs:
            return
        edge = 4 * _HORIZON
        runs = [Phone("", runs[0].start - edge, runs[0].start), *runs, Phone("", runs[-1].end, runs[-1].end + edge)]
        table, spans, sounds = [], [], []
        self._closures = set()
        for run in runs:
            target = TARGETS[run.symbol] if run.symbol else SILENCE
            closing = run.symbol in CLOSING
            core, length = CLOSE_CORE if closing else CORE, run.end - run.start
            if run.symbol == "":  # rest begins at once and lasts
                margin = min(0.5 * length, 0.06)
                core_start, core_end = run.start + margin, run.end - margin
            else:
                core_start, core_end = run.start + core[0] * length, run.start + core[1] * length
                sounds.append((run.start, run.end))
            before = ROUND_BEFORE if target.rounding > 0.4 else REACH_BEFORE
            reach = (CLOSE_BEFORE, CLOSE_AFTER) if closing else (before, REACH_AFTER)
            table.append((*target[:4], float(closing)))
            spans.append((core_start, core_end, *reach, target.pull))
            if closing:  # at least one frame shows it, however short it is
                self._closures.add(int(0.5 * (core_start + core_end) / FRAME_SECONDS))
        self._table, self._spans = np.array(table), np.array(spans)
        self._sounds = np.array(sounds).reshape(-1, 2)

    def speaking(self, frame: int, reach: float = 0.0) -> bool:
        """Whether a sound other than silence lies within `reach` seconds of the frame."""
        start, end = frame * FRAME_SECONDS - reach, (frame + 1) * FRAME_SECONDS + reach
        return bool(np.any((self._sounds[:, 0] < end) & (self._sounds[:, 1] > start)))

    def shape(self, frame: int) -> MouthShape:
        """The mouth at the middle of a frame: F(t) = Σ α D T / Σ α D, D = exp(−distance / reach)."""
        return self._mouth(self.blend((frame + 0.5) * FRAME_SECONDS), closed=frame in self._closures)

    def blend(self, middle: float) -> F64:
        """(5,) opening, width, rounding, teeth and closing phones' share at a time (s), before closures are forced."""
        near = (self._spans[:, 1] > middle - _HORIZON) & (self._spans[:, 0] < middle + _HORIZON)
        if not near.any():
            return np.array([SILENCE.opening, 0.0, 0.0, 0.0, 0.0])
        spans, table = self._spans[near], self._table[near]
        times = middle + _STEPS[:, None]
        early = np.maximum(spans[:, 0] - times, 0.0) / spans[:, 2]
        late = np.maximum(times - spans[:, 1], 0.0) / spans[:, 3]
        pulls = spans[:, 4] * np.exp(-(early + late))
        values: F64 = (pulls @ table) / (pulls.sum(axis=1, keepdims=True) + 1e-4)
        return np.asarray(_WEIGHTS @ values, dtype=np.float64)

    @staticmethod
    def _mouth(v: F64, closed: bool) -> MouthShape:
        opening, width, rounding, teeth, closure = (float(x) for x in v)
        if closed:
            return MouthShape(0.0, width, rounding, 0.0, 1.0)
        # A closing phone's share of the blend reaches far; lips are pressed together only where it rules.
        return MouthShape(opening, width, rounding, teeth, max(0.0, 2.0 * closure - 1.0))
