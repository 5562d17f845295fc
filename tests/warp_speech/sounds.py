"""Sounds made by formula for the tests: something with a voice's pitch, formants and syllables, noise, tones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from pipeline.lipsync.warp.speech_analyser import WarpAnalyser
from pipeline.media import SAMPLE_RATE, MouthShape, Pcm, PhonemeMark, SpeechChunk


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def noise(seconds: float, rms: float, seed: int = 0) -> Pcm:
    wave = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE)) * rms
    return pcm(wave)


def pcm(wave: NDArray[np.float64]) -> Pcm:
    return np.asarray(np.clip(wave, -1, 1) * 32767, dtype=np.int16)


def babble(seconds: float, seed: int = 0, peak: float = 0.5) -> Pcm:
    """Vowels in syllables of 0.2 s: a pulse train through three moving formants, with rests between the syllables."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(round(seconds / 0.2)):
        n = round(0.2 * SAMPLE_RATE)
        pitch = rng.uniform(110, 190)
        phase = np.cumsum(np.full(n, pitch / SAMPLE_RATE))
        wave = (np.diff(np.floor(phase), prepend=0) > 0).astype(float) + 0.01 * rng.standard_normal(n)
        for formant, width in ((rng.uniform(350, 800), 80), (rng.uniform(900, 2200), 120), (2600, 160)):
            r = np.exp(-np.pi * width / SAMPLE_RATE)
            wave = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * formant / SAMPLE_RATE), r * r], wave)
        parts.append(wave * np.sin(np.pi * np.arange(n) / n) ** 0.7)
    joined = np.concatenate(parts)
    return pcm(joined / np.abs(joined).max() * peak)


def music(seconds: float, seed: int = 0) -> Pcm:
    """Plucked chords twice a second with a drum on each."""
    rng = np.random.default_rng(seed)
    t = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    beats = []
    for _ in range(round(seconds * 2)):
        root = 220 * 2 ** (rng.integers(0, 12) / 12)
        beat = sum(
            np.sin(2 * np.pi * root * ratio * harmonic * t) / harmonic * np.exp(-t * (3 + harmonic))
            for ratio in (1, 1.26, 1.5)
            for harmonic in range(1, 7)
        )
        beats.append(beat + rng.standard_normal(len(t)) * np.exp(-t * 40))
    joined = np.concatenate(beats)
    return pcm(joined / np.abs(joined).max() * 0.5)


def marks(text: str, step: float = 0.08, start: float = 0.2) -> tuple[PhonemeMark, ...]:
    """One mark a letter; " " is a silence of 0.2 s."""
    out = []
    for letter in text:
        length = 0.2 if letter == " " else step
        out.append(PhonemeMark("" if letter == " " else letter, start, start + length))
        start += length
    return tuple(out)


def analyse(*chunks: SpeechChunk) -> list[MouthShape | None]:
    analyser = WarpAnalyser()
    out: list[MouthShape | None] = []
    for chunk in chunks:
        out += analyser.feed(chunk)
    return out + list(analyser.finish())


def openings(mouths: list[MouthShape | None]) -> NDArray[np.float64]:
    """Frame by frame, 0 where no mouth is asked for."""
    return np.array([0.0 if m is None else m.opening for m in mouths])
