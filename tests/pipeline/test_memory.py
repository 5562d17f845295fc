"""After the start the collector has nothing left to look through, and large blocks go back to the system."""

from __future__ import annotations

import gc
import subprocess
import sys

from pipeline import memory


def test_what_is_there_at_the_start_is_never_looked_through_again() -> None:
    kept = [[number] for number in range(1000)]
    try:
        memory.settle()
        assert gc.get_freeze_count() > len(kept)
        assert len(gc.get_objects()) < 1000
    finally:
        gc.unfreeze()


HOLES = """
import psutil
from pipeline import memory
memory.give_back_large_blocks()
own = lambda: psutil.Process().memory_full_info().uss
for size in (31, 30, 29):  # what glibc's threshold would learn from
    bytearray(size << 20)
before = own()
blocks = [(bytearray(1 << 20), bytearray(90_000)) for _ in range(100)]
small = [block for _, block in blocks]
del blocks
print((own() - before) >> 20)
"""


def test_large_blocks_are_given_back_from_between_small_ones() -> None:
    told = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, timeout=60, check=True)
    assert int(told.stdout) < 30
