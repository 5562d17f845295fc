"""Sound of any rate and layout to what Lectern speaks: mono int16 at 48 kHz, as a stream, the full band kept."""

from __future__ import annotations

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray

from pipeline.media import SAMPLE_RATE, Pcm

# libswresample's own default (32 taps, cutoff 0.97) is 0.7 dB down at 11 kHz of a 24 kHz source and lets its image
# through at -21 dB; 128 taps at 0.985: 0.0 dB, image at -113 dB (11.4 kHz: -93 dB), 0.5 ms a second of sound.
_OPTIONS = f"{SAMPLE_RATE}:filter_size=128:cutoff=0.985"


class Resampler:
    """A stream of sound from `rate` Hz to mono int16 at 48 kHz. The output is aligned with the input: no delay."""

    def __init__(self, rate: int, sample_format: str = "flt", layout: str = "mono") -> None:
        self._rate = rate
        self._format = sample_format
        self._layout = layout
        graph = Graph()
        source = graph.add_abuffer(sample_rate=rate, format=sample_format, layout=layout)
        resample = graph.add("aresample", _OPTIONS)
        shape = graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={SAMPLE_RATE}")
        sink = graph.add("abuffersink")
        graph.link_nodes(source, resample, shape, sink).configure()
        self._graph = graph

    def fits(self, frame: AudioFrame) -> bool:
        """Whether a decoded frame is of the kind this resampler was made for (streams may change midway)."""
        return (
            frame.sample_rate == self._rate and frame.format.name == self._format and frame.layout.name == self._layout
        )

    def feed(self, frame: AudioFrame) -> Pcm:
        """The next frame; gives the samples that are now known (perhaps none)."""
        frame.pts = None
        self._graph.push(frame)
        return self._pull()

    def feed_array(self, samples: NDArray[np.float32]) -> Pcm:
        """The next (n,) samples, -1..1, of a mono float stream."""
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format=self._format, layout=self._layout)
        frame.sample_rate = self._rate
        return self.feed(frame)

    def finish(self) -> Pcm:
        """No more comes: the rest."""
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> Pcm:
        pieces: list[Pcm] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(frame, AudioFrame)
            pieces.append(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False))
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
