"""Sound -> what the mouth's network hears: 16 kHz, mel bands every 10 ms, relative to a running level. Streaming."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.media import SAMPLE_RATE, SAMPLES_PER_FRAME, Pcm

F32 = NDArray[np.float32]

RATE = 16_000
DECIMATION = SAMPLE_RATE // RATE
BLOCK = SAMPLES_PER_FRAME // DECIMATION  # 640 samples of 16 kHz: one video frame
HOP = RATE // 100
WINDOW = RATE // 40
FFT = 512
BANDS = 24
LOW, HIGH = 80.0, 7_600.0
MELS_PER_BLOCK = BLOCK // HOP  # 4
CENTRE_LAG = (WINDOW - HOP) // 2
"""Samples a window reaches beyond its own 10 ms on either side (120): mel m is centred on hop m."""

SPEECH_BAND = (1_000.0, 4_000.0)
FLOOR = -8.0
"""Bands are cut off this far (natural log of power) below the running level."""

_TAPS = 63
_RISE = 0.095  # a 10-ms frame: a time constant of 100 ms
_FALL = 1.5 / 4.343 / 100  # 1.5 dB a second
_LEAK = 0.0005  # of the distance, so that one bang cannot hold the level up for long
_QUIET = -11.5
"""Level (ln of mean band power for samples in ±1) of a room with nobody speaking; the running level stays above."""
_START = -6.0
_SETTLE = 20


@lru_cache(maxsize=1)
def _lowpass() -> F32:
    """Windowed sinc, cut at 7.4 kHz: what folds into the bands is 50 dB down."""
    n = np.arange(_TAPS) - _TAPS // 2
    taps = np.sinc(2 * 7_400 / SAMPLE_RATE * n) * np.blackman(_TAPS)
    return np.asarray(taps / taps.sum(), dtype=np.float32)


def mel_centres() -> F32:
    """Centre frequency (Hz) of each of the BANDS bands."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOW, HIGH))
    return np.asarray(700 * (10 ** (np.linspace(low, high, BANDS + 2)[1:-1] / 2595) - 1), dtype=np.float32)


@lru_cache(maxsize=1)
def _filters() -> F32:
    """(FFT // 2 + 1, BANDS) triangles of unit sum: a band's power is a mean, whatever its width."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOW, HIGH))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(up, down))
    return np.asarray(triangles / np.maximum(triangles.sum(axis=0), 1e-9), dtype=np.float32)


@lru_cache(maxsize=1)
def _window() -> F32:
    return np.asarray(np.hanning(WINDOW + 1)[:-1], dtype=np.float32)


_EVEN = np.full(WINDOW, 1 / WINDOW, np.float32)


def _windows(sound: F32, length: int, step: int, count: int) -> F32:
    """(count, length) overlapping views of a contiguous sound; as sliding_window_view, at a fifth of its cost."""
    stride = sound.strides[0]
    return np.lib.stride_tricks.as_strided(sound, (count, length), (step * stride, stride), writeable=False)


class Resampler:
    """48 kHz int16 -> 16 kHz float32 in ±1, three samples to one; late by 0.7 ms. Sizes divisible by 3."""

    def __init__(self) -> None:
        self._tail = np.zeros(_TAPS - 1, np.float32)

    def __call__(self, pcm: Pcm) -> F32:
        sound = np.concatenate((self._tail, pcm.astype(np.float32) * (1 / 32768)))
        self._tail = sound[len(sound) - (_TAPS - 1) :]
        count = len(pcm) // DECIMATION
        return np.asarray(_windows(sound[DECIMATION - 1 :], _TAPS, DECIMATION, count) @ _lowpass(), dtype=np.float32)


class Mels:
    """16 kHz sound -> (m, BANDS) natural log of band power, one row every 10 ms.

    The sound of row m is centred on samples [160m, 160m + 160); it comes once 120 samples more are there.
    """

    def __init__(self) -> None:
        self._tail = np.zeros(CENTRE_LAG, np.float32)

    def __call__(self, sound: F32) -> F32:
        joined = np.concatenate((self._tail, sound))
        count = max(0, (len(joined) - WINDOW) // HOP + 1)
        self._tail = joined[count * HOP :]
        if count == 0:
            return np.zeros((0, BANDS), np.float32)
        windows = _windows(joined, WINDOW, HOP, count)
        windows = (windows - (windows @ _EVEN)[:, None]) * _window()
        spectrum = np.fft.rfft(windows, FFT, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        return np.asarray(np.log(power @ _filters() + 1e-9), dtype=np.float32)


class Level:
    """A running level of the voice, so that the mouth moves alike for a loud and a quiet speaker."""

    def __init__(self) -> None:
        self._level = _START
        self._heard = 0

    def __call__(self, mels: F32) -> F32:
        """(m, BANDS) log mels -> the same relative to the level, cut at FLOOR."""
        out = np.empty_like(mels)
        loudness = np.log(np.exp(mels).sum(axis=1) / BANDS)
        for i, now in enumerate(loudness.tolist()):
            gap = now - self._level
            if now > _QUIET and self._heard < _SETTLE:  # the first sounds set it
                self._heard += 1
                self._level += max(_RISE, 1 / (self._heard + 2)) * gap
            elif gap > 0:
                self._level += _RISE * gap
            else:
                self._level += max(-_FALL, gap) + _LEAK * gap
            self._level = max(self._level, _QUIET)
            out[i] = mels[i] - self._level
        return np.maximum(out, FLOOR)


@lru_cache(maxsize=1)
def _speech_bands() -> slice:
    inside = np.flatnonzero((mel_centres() >= SPEECH_BAND[0]) & (mel_centres() <= SPEECH_BAND[1]))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def band_loudness(levelled: F32) -> F32:
    """(m, BANDS) of `Level` -> (m,) loudness of the 1-4 kHz band, 0 none .. about 1: the simplest guess."""
    inside = levelled[:, _speech_bands()]
    energy = np.log(np.exp(inside).sum(axis=1) / inside.shape[1])
    return np.asarray(np.sqrt(np.maximum((energy + 5.0) / 5.0, 0.0)), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one video frame of sound (block n) brought.

    sound: (640,) at 16 kHz in ±1. rows: (4, BANDS) levelled mels of rows 4n - 1 .. 4n + 2. loudness: (4,) their band's.
    now: the band's loudness at the frame, from what was heard so far.
    """

    sound: F32
    rows: F32
    loudness: F32
    now: float


_FADE = np.exp(-0.5 * (np.arange(-8, 1) / 3.0) ** 2)
_FADE = (_FADE / _FADE.sum()).astype(np.float32)  # half a Gaussian of 30 ms


class Ear:
    """Blocks of 1920 samples at 48 kHz in, `Heard` out. Fixed blocks: the same numbers however the sound was cut."""

    def __init__(self) -> None:
        self._resample, self._mels, self._level = Resampler(), Mels(), Level()
        self._before: F32 = np.zeros(len(_FADE) - 1, np.float32)
        self._first = True

    def __call__(self, block: Pcm) -> Heard:
        sound = self._resample(block)
        rows = self._level(self._mels(sound))
        if self._first:  # the first window ends one row early: nothing was there before it
            rows = np.concatenate((np.full((1, BANDS), FLOOR, np.float32), rows))
            self._first = False
        loudness = band_loudness(rows)
        recent = np.concatenate((self._before, loudness))[-len(_FADE) :]
        self._before = recent[1:]
        return Heard(sound, rows, loudness, float(recent @ _FADE))
