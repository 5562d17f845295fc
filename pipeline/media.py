"""The units and values that flow through a session: speech, its marks, and mouth patches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avatars.avatar import FPS, U8

SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 1920: frame k covers samples [1920k, 1920k + 1920)
FRAME_SECONDS = 1 / FPS

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class WordMark:
    """A word as it is shown in the captions, with its place in the sound (seconds from the utterance's start)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class PhonemeMark:
    """One phoneme (IPA symbol; "" is silence), in seconds from the utterance's first sample."""

    symbol: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of speech, in order: mono int16 at 48 kHz, with the marks that became known with it.

    Marks may lie ahead of the chunk's own samples (a voice that knows the whole sentence sends them all with its first
    chunk). They never lie before the chunk's first sample, but for words which edge-like services report late.
    phonemes: None: this voice has none, the engine works from the sound; a tuple (also empty): phonemes are known
        for the whole stretch of sound of this sentence, and the tuples of its chunks together are complete.
    """

    pcm: Pcm
    words: tuple[WordMark, ...] = ()
    phonemes: tuple[PhonemeMark, ...] | None = None


@dataclass(frozen=True, slots=True)
class MouthPatch:
    """A finished mouth: I420 planes to copy onto the avatar's frame at (x, y). x, y, width, height are even."""

    x: int
    y: int
    luma: U8  # (height, width)
    u: U8  # (height/2, width/2)
    v: U8


@dataclass(frozen=True, slots=True)
class MouthShape:
    """What a mouth does at one frame, free of any face; the `warp` engine's mouth parameters.

    opening: 0 closed .. 1 wide open. width: -1 narrow .. 1 spread. rounding: 0 .. 1 ("oo").
    teeth: 0 .. 1, how much the upper teeth show. closure: 0 .. 1, lips pressed together (b, m, p).
    """

    opening: float = 0.0
    width: float = 0.0
    rounding: float = 0.0
    teeth: float = 0.0
    closure: float = 0.0


CLOSED = MouthShape()


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """How a session's picture is encoded. Bitrates in bit/s; `gop` in frames; `height` None: the avatar's own."""

    codec: str = "h264"  # or "vp8"
    height: int | None = None
    bitrate: int = 2_500_000
    max_bitrate: int = 4_000_000
    min_bitrate: int = 600_000
    preset: str = "superfast"
    gop: int = 250
    extra: dict[str, str] = field(default_factory=dict)
