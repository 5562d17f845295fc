"""The tutor's own voice in the student's microphone: what came in is compared with what was sent lately.

The browser cancels echo; this is the second line of defence, for those that don't, or not well enough. A sound's course
through the bands of speech is its fingerprint: loudspeaker, room and noise change it little, another voice has another.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pipeline.media import SAMPLE_RATE, Pcm
from pipeline.voice_activity import F32, RATE

F64 = NDArray[np.float64]

HOP_SECONDS = 0.016
LAGS = 56
"""Frames that an echo may be late, 0.9 s: network and jitter buffers both ways, loudspeaker, microphone."""

WINDOW = 28
"""Frames that are compared, 0.45 s."""

ALIKE = 0.57
"""Correlation from which on a sound is the tutor's. Echoes under noise and reverberation reach 0.63 and more in 95 of
100 windows, four other speakers 0.43 to 0.50 and less (docs/decisions.md).
"""

LOUDER = 6.0
"""dB above the echo that is expected: somebody else speaks as well."""

_BANDS = 16
_LOWEST, _HIGHEST = 200.0, 6500.0
_DEPTH = 50.0  # dB below its loudest band at which sent sound counts as silence
_QUIET = 1e-7  # power of what nobody hears
_NEWEST = 4  # frames, of which loudness is compared
_KEPT = WINDOW + LAGS + 64
_AUDIBLE = 33  # of 32768: -60 dB
_GAP = 0.06  # seconds between two sent pieces, more than which is silence


class SentSound:
    """What a session has sent, as it leaves: put in on the event loop, taken out in another thread."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, Pcm]] = deque(maxlen=100)  # 2 s
        self.audible = float("-inf")  # when the last piece ended that was to be heard
        self.until = float("-inf")  # when the last piece ended

    def put(self, at: float, pcm: Pcm) -> None:
        """(n,) at 48 kHz, at its time on the monotonic clock."""
        self._pieces.append((at, pcm))
        self.until = at + len(pcm) / SAMPLE_RATE
        if int(np.abs(pcm).max(initial=0)) > _AUDIBLE:
            self.audible = self.until

    def take(self) -> list[tuple[float, Pcm]]:
        """What came since the last time."""
        taken = []
        while self._pieces:
            taken.append(self._pieces.popleft())
        return taken


class Spectrum:
    """A stream of sound to the power in each band, a frame each 16 ms of the last 32: the same at any rate."""

    def __init__(self, rate: int) -> None:
        self.hop = round(rate * HOP_SECONDS)
        self._size = 2 * self.hop
        self._window = np.hanning(self._size).astype(np.float32)
        self._window /= np.float32(np.sqrt((self._window**2).sum() * self._size))
        edges = np.round(np.geomspace(_LOWEST, _HIGHEST, _BANDS + 1) * self._size / rate).astype(int)
        self._edges = np.maximum.accumulate(np.concatenate(([edges[0]], np.maximum(edges[1:], edges[:-1] + 1))))
        self._rest: F32 = np.zeros(self.hop, np.float32)

    def feed(self, sound: F32) -> F64:
        """The next samples, ±1; (frames, bands) that are known now."""
        self._rest = np.concatenate((self._rest, sound))
        count = len(self._rest) // self.hop - 1
        if count < 1:
            return np.zeros((0, _BANDS))
        frames = np.lib.stride_tricks.sliding_window_view(self._rest, self._size)[:: self.hop][:count]
        power = np.abs(np.fft.rfft(frames * self._window)) ** 2
        self._rest = self._rest[count * self.hop :]
        widths = np.diff(self._edges)
        summed = np.add.reduceat(power[:, : self._edges[-1]], self._edges[:-1], axis=1)
        return np.asarray(summed / widths, np.float64)


class EchoGuard:
    """Tells whether what the microphone gives is the tutor's own sound. One microphone, one thread at a time."""

    def __init__(self, sent: SentSound) -> None:
        self._sent = sent
        self._own = Spectrum(SAMPLE_RATE)
        self._heard = Spectrum(RATE)
        silence = _decibels(np.zeros((_KEPT, _BANDS)))
        self._own_frames: deque[F64] = deque(silence, maxlen=_KEPT)  # dB
        self._heard_frames: deque[F64] = deque(maxlen=WINDOW)
        self._pending: deque[F32] = deque(maxlen=WINDOW)
        self._own_end: float | None = None
        self._loudest = -120.0  # dB, of the own sound

    def spoke(self, at: float) -> bool:
        """Whether the tutor was to be heard lately: its echo may come yet."""
        return at - self._sent.audible <= LAGS * HOP_SECONDS

    def hear(self, sound: F32) -> None:
        """The microphone's next (512,) samples at 16 kHz, ±1. Looked at only when they are asked about."""
        self._pending.append(sound)

    def is_echo(self, at: float) -> bool:
        """Of what was heard last, up to `at` on the monotonic clock."""
        if not self.spoke(at):
            return False
        self._take()
        while self._pending:
            self._heard_frames.extend(_decibels(self._heard.feed(self._pending.popleft())))
        if self._own_end is None:
            return False
        if len(self._heard_frames) < WINDOW:
            return True  # the microphone has just begun: better to miss a beginning than to hear oneself
        behind = round((self._own_end - at) / HOP_SECONDS)  # own frames that are younger than the sound
        own = np.array(self._own_frames)
        end = len(own) - max(0, behind)
        begin = max(0, end - WINDOW - LAGS)
        if end - begin < WINDOW + 1:
            return False
        own = np.maximum(own[begin:end], self._loudest - _DEPTH)
        heard = np.array(self._heard_frames)
        likeness = _likeness(heard, own)
        best = int(np.argmax(likeness))
        return bool(likeness[best] >= ALIKE) and not _louder(heard, own[best : best + WINDOW])

    def _take(self) -> None:
        for at, pcm in self._sent.take():
            end = at if self._own_end is None else self._own_end
            if at - end > _GAP:
                missing = min(at - end, _KEPT * HOP_SECONDS)
                self._add(np.zeros(round(missing * SAMPLE_RATE), np.float32))
                end = at
            self._own_end = end + len(pcm) / SAMPLE_RATE
            self._add(pcm.astype(np.float32) / np.float32(32768))

    def _add(self, sound: F32) -> None:
        for frame in _decibels(self._own.feed(sound)):
            loud = float(frame.max())
            self._loudest = max(loud, self._loudest - 0.01)  # falls by 0.6 dB a second
            self._own_frames.append(frame)


def _decibels(power: F64) -> F64:
    return np.asarray(10 * np.log10(power + _QUIET), np.float64)


def _likeness(heard: F64, own: F64) -> F64:
    """Correlation of (n, bands) with each stretch of as many frames in `own`, of the shape of the spectrum and how it
    changes: neither loudness as a whole nor a band's constant level counts.
    """
    count = len(heard)
    heard = heard - heard.mean(1, keepdims=True)
    heard = heard - heard.mean(0)
    own = own - own.mean(1, keepdims=True)
    stretches = np.lib.stride_tricks.sliding_window_view(own, count, axis=0)  # (lags, bands, n)
    stretches = stretches - stretches.mean(2, keepdims=True)
    together = np.einsum("lbn,nb->l", stretches, heard)
    return np.asarray(together / np.sqrt((stretches**2).sum((1, 2)) * (heard**2).sum() + 1e-9), np.float64)


def _louder(heard: F64, own: F64) -> bool:
    """Whether the newest frames are louder than that sound, as loud as it came in before, explains."""
    coupling = np.median(heard[:-_NEWEST] - own[:-_NEWEST], axis=0)
    expected = 10 ** ((own[-_NEWEST:] + coupling) / 10)
    return bool(10 * np.log10((10 ** (heard[-_NEWEST:] / 10)).sum() / expected.sum()) > LOUDER)
