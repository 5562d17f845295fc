"""The process's memory over weeks: short passes of the garbage collector, and large blocks given back."""

from __future__ import annotations

import ctypes
import gc
import os

LARGE = 256 << 10
"""Bytes from which a block (a picture, an encoder's buffer) is mapped by itself, and goes back when it is freed."""

_M_MMAP_THRESHOLD = -3  # malloc.h


def give_back_large_blocks() -> bool:
    """Fix glibc's threshold, which otherwise grows with what is freed, so that blocks of sessions that have ended
    leave holes between those of others. False: another C library, or the operator has set one (MALLOC_MMAP_THRESHOLD_).
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE) == 1


def settle() -> None:
    """Take what is there after the start (libraries, dictionaries of voices: it all stays) out of every later pass of
    the collector: a pass stops every thread, and pictures leave every 40 ms.
    """
    gc.collect()
    gc.freeze()
