"""The built-in voice's model: text to pieces of phonemes, a piece to sound with word and phoneme marks. Blocking."""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hibari import dsp
from hibari.g2p import G2P
from hibari.g2p.normalize import normalize
from hibari.voices import ASSETS, VOICES, voice_path
from numpy.typing import NDArray

from pipeline.media import PhonemeMark, SpeechChunk, WordMark
from pipeline.resample import Resampler
from pipeline.sentences import bounded
from pipeline.voices.voice import VoiceError
from pipeline.voices.words import align

DURATIONS = "/Clip_output_0"
"""The inner value of hibari's graph with each symbol's length: float (L,), in units of 25 ms (2 frames)."""

_UNIT = 2 * dsp.HOP / dsp.SR
_PUNCTUATION = frozenset(';:,.!?—…"()“” ')
_BREAKS = frozenset(";:,.!?—…")
_STRESS = frozenset("ˈˌ")
_LETTERS = json.loads(Path(ASSETS, "oov.json").read_text("utf-8"))["in"]
_KNOWN = frozenset(_LETTERS)
_LONG_NUMBER = re.compile(r"\d{13,}")
_LONG_RUN = re.compile(r"\S{60}(?=\S)")  # hibari's rules are cubic in it: 300 characters of "1/" took them 3.5 s

_FIRST_SYMBOLS = 110  # about 6 s of speech: 40-50 ms to the first sample
_MORE_SYMBOLS = 250
PAUSE = 0.12
"""Seconds of silence between the pieces of a long sentence."""

_QUIET = 1e-3  # root mean square of what counts as silence (-60 dB; hibari's own silence is below -100 dB)
_WINDOW = 120  # samples, 5 ms
_LEAD = 4 * _WINDOW  # kept before the first sound and after the last
_TAIL = 6 * _WINDOW


@dataclass(frozen=True, slots=True)
class Piece:
    """What is synthesised at once: hibari's phoneme symbols, and of each written word [start, end) among them."""

    symbols: str
    words: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A spoken token: its symbols, the index of its spoken word, whether a space follows."""

    symbols: str
    word: int
    space: bool


def installed(name: str) -> bool:
    """Whether a hibari voice is on this machine (only "heart" is in the package)."""
    return name in VOICES and os.path.exists(_file(name))


def installed_voices() -> list[str]:
    """The hibari voices on this machine."""
    return [name for name in VOICES if installed(name)]


def _file(name: str) -> str:
    try:
        return str(voice_path(name, download_missing=False))
    except FileNotFoundError as error:
        return str(error)


def with_durations(model: bytes) -> bytes:
    """An ONNX model with the durations as one more output, the file itself untouched.

    A protobuf message may be continued by appending: repeated fields are joined, embedded messages merged
    (protobuf.dev/programming-guides/encoding, "Last One Wins"). So `graph { output { name, type: float tensor } }`
    is appended: ModelProto.graph = 7, GraphProto.output = 12, ValueInfoProto.name = 1 and .type = 2,
    TypeProto.tensor_type = 1, Tensor.elem_type = 1 (FLOAT = 1).
    """
    info = _field(1, DURATIONS.encode()) + _field(2, _field(1, b"\x08\x01"))
    return model + _field(7, _field(12, info))


def _field(number: int, payload: bytes) -> bytes:
    if len(payload) > 127:
        raise ValueError("only short fields are needed here")
    return bytes([number << 3 | 2, len(payload)]) + payload


class HibariModel:
    """One voice, loaded. `plan` is pure Python (about 1 ms of the GIL a sentence), `render` numpy and onnxruntime."""

    def __init__(self, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Its plan of a run's memory is kept for every length of sentence ever seen; without it nothing is slower.
        options.enable_mem_pattern = False
        self._session: Any = onnxruntime.InferenceSession(
            with_durations(Path(_file(name)).read_bytes()), options, providers=["CPUExecutionProvider"]
        )
        self._g2p: Any = G2P(british=VOICES[name]["british"])
        self._ids: dict[str, int] = json.loads(Path(ASSETS, "vocab.json").read_text("utf-8"))
        self._speed = np.ones(1, np.float32)
        warm = "Hello, Zorblax."  # the unknown word loads the spelling net
        for piece in self.plan(warm):
            self.render(piece)

    def plan(self, sentence: str) -> list[Piece]:
        """The pieces of a sentence of any length; none when there is nothing to say. Raises VoiceError."""
        pieces: list[Piece] = []
        for text in bounded(sentence):
            pieces += self._plan(text, first=not pieces)
        return pieces

    def render(self, piece: Piece) -> SpeechChunk:
        """The piece's sound without the silence around it, its marks in seconds from its own first sample."""
        ids = np.array([[0, *(self._ids[symbol] for symbol in piece.symbols), 0]], np.int64)
        outputs = self._session.run(None, {"ids": ids, "speed": self._speed})
        *spectra, pitch = (output[0] for output in outputs[:-1])
        wave = dsp.synth(*spectra, pitch, np.random.default_rng(0))
        edges = np.concatenate([[0.0], np.cumsum(outputs[-1], dtype=np.float64) * _UNIT])
        if len(edges) != len(piece.symbols) + 3 or not math.isclose(edges[-1], len(wave) / dsp.SR):
            raise VoiceError("voice_failed", "The built-in voice's phoneme durations do not fit its sound.")
        begin, end = _sounding(wave)
        wave = wave[begin:end]
        _fade(wave)
        resampler = Resampler(dsp.SR)
        pcm = np.concatenate([resampler.feed_array(wave), resampler.finish()])
        times = np.clip(edges - begin / dsp.SR, 0.0, (end - begin) / dsp.SR).tolist()
        symbols = ["", *piece.symbols, ""]
        phonemes = tuple(
            PhonemeMark(symbol, times[i], times[i + 1]) for i, symbol in enumerate(symbols) if times[i + 1] > times[i]
        )
        words = tuple(WordMark(text, times[a + 1], times[b + 1]) for text, a, b in piece.words)
        return SpeechChunk(pcm, words, phonemes)

    def _plan(self, text: str, first: bool) -> list[Piece]:
        try:
            units = self._units(_readable(text))
        # whatever the rules of the language trip over is a sentence that cannot be said, not a crash
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise VoiceError("cannot_say", f"The built-in voice cannot read this: {text[:80]}") from error
        spoken = _spoken(units)
        written = text.split()
        owner: dict[int, int] = {}
        for index, (start, end) in enumerate(align(written, spoken)):
            owner |= dict.fromkeys(range(start, end), index)
        return _with_silent_end(list(_pieces(units, written, owner, first)), written)

    def _units(self, text: str) -> list[tuple[_Unit, str]]:
        """The spoken tokens with their own text."""
        units: list[tuple[_Unit, str]] = []
        word = 0
        for token in self._g2p.phonemize_tokens(self._g2p.tokenize(normalize(text))):
            symbols = "".join(symbol for symbol in token.phonemes or "" if symbol in self._ids)
            units.append((_Unit(symbols, word, bool(token.whitespace)), token.text))
            word += bool(token.whitespace)
        return units


def _readable(text: str) -> str:
    """Without what hibari misreads: markup for phonemes, numbers past its words, endless runs, unknown letters."""
    text = _LONG_NUMBER.sub(lambda match: " ".join(match.group()), text.replace("](", "] ("))
    text = _LONG_RUN.sub(r"\g<0> ", text)
    if text.isascii():
        return text
    return "".join(_known(character) for character in text)


def _known(character: str) -> str:
    """The character, or what its Latin letters and digits are ("ạ" is "a", "①" is "1")."""
    if character == "İ":  # in lower case two characters, which hibari's rules do not expect
        return "I"
    if character in _KNOWN or not (character.isalpha() or character.isnumeric()) or character.isdecimal():
        return character
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii() and c.isalnum())
    return plain or (" " if character.isnumeric() else character)


def _spoken(units: list[tuple[_Unit, str]]) -> list[str]:
    words: list[str] = [""] * (units[-1][0].word + 1 if units else 0)
    for unit, text in units:
        words[unit.word] += text
    return words


def _pieces(units: list[tuple[_Unit, str]], written: list[str], owner: dict[int, int], first: bool) -> Iterator[Piece]:
    """The units put together to pieces, cut after punctuation where possible, else between words."""
    limit = _FIRST_SYMBOLS if first else _MORE_SYMBOLS
    begin = 0
    said = 0  # written words already given
    while begin < len(units):
        length = 0
        end = begin
        pause = space = begin
        while end < len(units) and (length <= limit or end == begin):
            symbols = units[end][0].symbols
            length += len(symbols) + units[end][0].space
            end += 1
            if units[end - 1][0].space:
                space = end
                if symbols and symbols[-1] in _BREAKS:
                    pause = end
        if length > limit and end < len(units):
            end = pause if pause > begin else space if space > begin else end
        piece, said = _piece([unit for unit, _ in units[begin:end]], written, owner, said, end == len(units))
        if piece is not None:
            limit = _MORE_SYMBOLS
            yield piece
        begin = end


def _with_silent_end(pieces: list[Piece], written: list[str]) -> list[Piece]:
    """What is written after the last sound (a dash) is shown with the last word that has one."""
    shown = sum(len(word.split()) for piece in pieces for word, _, _ in piece.words)
    for number in reversed(range(len(pieces))):
        if pieces[number].words and shown < len(written):
            *words, (word, start, end) = pieces[number].words
            last = (" ".join([word, *written[shown:]]), start, end)
            pieces[number] = replace(pieces[number], words=(*words, last))
            break
    return pieces


def _piece(
    units: list[_Unit], written: list[str], owner: dict[int, int], said: int, last: bool
) -> tuple[Piece | None, int]:
    """One piece, and how many written words are given with it and before it.

    A written word without a sound of its own (a dash) is shown with the word before it.
    """
    symbols = ""
    spans: dict[int, tuple[int, int]] = {}
    for unit in units:
        start = len(symbols)
        symbols += unit.symbols
        end = start + len(unit.symbols.rstrip("".join(_PUNCTUATION)))
        index = owner.get(unit.word)
        if index is not None and end > start and not _PUNCTUATION.issuperset(unit.symbols):
            spans[index] = (spans[index][0] if index in spans else start, end)
        if unit.space and symbols and symbols[-1] != " ":
            symbols += " "
    symbols = symbols.rstrip(" ")
    if not spans or (_PUNCTUATION | _STRESS).issuperset(symbols):
        return None, said
    marks: list[tuple[str, int, int]] = []
    indices = sorted(index for index in spans if index >= said)
    for position, index in enumerate(indices):
        start, end = spans[index]
        if position + 1 < len(indices):
            following = indices[position + 1]
        else:
            following = len(written) if last else index + 1
        marks.append((" ".join(written[said if position == 0 else index : following]), start, end))
    return Piece(symbols, tuple(marks)), max([said, *(index + 1 for index in indices)]) if not last else len(written)


def _sounding(wave: NDArray[np.float32]) -> tuple[int, int]:
    """[begin, end) of the samples that are not silence before or after the speech."""
    count = len(wave) // _WINDOW
    power = np.square(wave[: count * _WINDOW]).reshape(count, _WINDOW).mean(axis=1)
    loud = np.flatnonzero(power > _QUIET * _QUIET)
    if not loud.size:
        return 0, len(wave)
    return max(0, int(loud[0]) * _WINDOW - _LEAD), min(len(wave), int(loud[-1] + 1) * _WINDOW + _TAIL)


def _fade(wave: NDArray[np.float32]) -> None:
    """No click where the silence was cut off: 5 ms up, 5 ms down, in place."""
    ramp = np.linspace(0.0, 1.0, min(_WINDOW, len(wave)), dtype=np.float32)
    wave[: len(ramp)] *= ramp
    wave[len(wave) - len(ramp) :] *= ramp[::-1]
