"""The garbage collector's long passes kept short: they stop every thread, and pictures leave every 40 ms."""

from __future__ import annotations

import gc


def settle() -> None:
    """Take what is there after the start (libraries, dictionaries of voices: it all stays) out of every later pass."""
    gc.collect()
    gc.freeze()
