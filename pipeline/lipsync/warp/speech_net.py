"""The small network from mel bands to a mouth, in numpy: two layers and a GRU, one step every 20 ms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.lipsync.warp.speech_features import BANDS, F32

WEIGHTS = Path(__file__).parent / "weights" / "mouth.npz"
AHEAD = (1, 9)
"""Step s covers mel rows 2s and 2s + 1, and hears rows 2s + AHEAD[0] .. 2s + AHEAD[1] - 1 (80 ms of look-ahead)."""
OUTPUTS = ("opening", "width", "rounding", "teeth", "closure")
HIDDEN, STATE = 48, 64
_SHAPES = {
    "enter": ((AHEAD[1] - AHEAD[0]) * BANDS, HIDDEN),
    "enter_bias": (HIDDEN,),
    "input": (HIDDEN, 3 * STATE),
    "input_bias": (3 * STATE,),
    "state": (STATE, 3 * STATE),
    "state_bias": (3 * STATE,),
    "leave": (STATE, len(OUTPUTS)),
    "leave_bias": (len(OUTPUTS),),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """Names and shapes as in the file; GRU gates in the order reset, update, new (Cho 2014, as torch has them)."""

    enter: F32
    enter_bias: F32
    input: F32
    input_bias: F32
    state: F32
    state_bias: F32
    leave: F32
    leave_bias: F32


@lru_cache(maxsize=1)
def weights() -> Weights:
    """The trained weights, read once. Made by bench/train_mouth."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        found = {name: np.ascontiguousarray(file[name], dtype=np.float32) for name in _SHAPES}
    for name, shape in _SHAPES.items():
        if found[name].shape != shape:
            raise ValueError(f"{WEIGHTS.name}: {name} is {found[name].shape}, not {shape}")
    return Weights(**found)


class MouthNet:
    """One utterance's run through the network. Step after step, in order."""

    def __init__(self) -> None:
        self._w = weights()
        self._state: F32 = np.zeros(len(self._w.state), np.float32)

    def step(self, rows: F32) -> F32:
        """(AHEAD[1] - AHEAD[0], BANDS) levelled mel rows of this step -> (5,) OUTPUTS, unclipped."""
        w, size = self._w, len(self._state)
        seen = np.maximum(rows.reshape(-1) @ w.enter + w.enter_bias, 0.0)
        given, kept = seen @ w.input + w.input_bias, self._state @ w.state + w.state_bias
        gates = 1.0 / (1.0 + np.exp(-(given[: 2 * size] + kept[: 2 * size])))
        new = np.tanh(given[2 * size :] + gates[:size] * kept[2 * size :])
        self._state = new + gates[size:] * (self._state - new)
        return np.asarray(self._state @ w.leave + w.leave_bias, dtype=np.float32)
