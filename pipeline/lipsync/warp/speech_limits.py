"""How far a mouth goes: openings bend softly towards wide open instead of being cut off there."""

from __future__ import annotations

import math

_KNEE = 0.75


def soft_top(opening: float) -> float:
    """An opening of any size -> 0..1: itself up to .75, then ever less (a plateau at 1 looks like a stuck jaw)."""
    if opening <= _KNEE:
        return max(0.0, opening)
    return _KNEE + (1.0 - _KNEE) * math.tanh((opening - _KNEE) / (1.0 - _KNEE))
