"""Speech put in its place: later by what was already said, after a pause, in short chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.media import SAMPLE_RATE, PhonemeMark, SpeechChunk, WordMark

CHUNK = SAMPLE_RATE * 2 // 5
"""Samples of a chunk, 0.4 s: ten frames, short enough to stop at once."""


def shifted(chunk: SpeechChunk, seconds: float) -> SpeechChunk:
    """The chunk with its marks later by `seconds`."""
    if seconds == 0.0:
        return chunk
    words = tuple(WordMark(mark.text, mark.start + seconds, mark.end + seconds) for mark in chunk.words)
    phonemes = chunk.phonemes
    if phonemes is not None:
        phonemes = tuple(PhonemeMark(mark.symbol, mark.start + seconds, mark.end + seconds) for mark in phonemes)
    return replace(chunk, words=words, phonemes=phonemes)


def silence(seconds: float, phonemes: bool) -> SpeechChunk:
    """A pause. phonemes: the voice around it has them (none are in it)."""
    return SpeechChunk(np.zeros(round(seconds * SAMPLE_RATE), np.int16), phonemes=() if phonemes else None)


def sliced(chunk: SpeechChunk) -> Iterator[SpeechChunk]:
    """The chunk in pieces of at most CHUNK samples, all marks in the first."""
    if len(chunk.pcm) <= CHUNK:
        yield chunk
        return
    yield replace(chunk, pcm=chunk.pcm[:CHUNK])
    rest = None if chunk.phonemes is None else ()
    for begin in range(CHUNK, len(chunk.pcm), CHUNK):
        yield SpeechChunk(chunk.pcm[begin : begin + CHUNK], phonemes=rest)
