"""The memory through which patches come back from a worker process: slots, free again when their patch is dropped."""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque

import numpy as np

from avatars.avatar import U8
from pipeline.media import MouthPatch


class Memory:
    """The slots of one worker: memory without a name, gone with the last process and patch that uses it."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.fd = os.memfd_create("musetalk-patches", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, slots * slot_bytes)
        self._map = mmap.mmap(self.fd, 0)
        self._slot_bytes = slot_bytes
        self.free: deque[int] = deque(range(slots))

    def close_fd(self) -> None:
        os.close(self.fd)

    def patch(self, slot: int, canvas: tuple[int, int], place: tuple[int, int, int, int]) -> MouthPatch:
        """Views of a slot's picture; the slot is free again when nobody holds any of them."""
        width, height = canvas
        x, y, w, h = place
        flat: U8 = np.frombuffer(self._map, np.uint8, width * height * 3 // 2, slot * self._slot_bytes)
        weakref.finalize(flat, self.free.appendleft, slot).atexit = False
        luma, chroma = width * height, width * height // 4
        u, v = flat[luma:].reshape(2, chroma)
        half = (height // 2, width // 2)
        return MouthPatch(
            x,
            y,
            flat[:luma].reshape(height, width)[:h, :w],
            u.reshape(half)[: h // 2, : w // 2],
            v.reshape(half)[: h // 2, : w // 2],
        )
