"""After the start the collector has nothing left to look through."""

from __future__ import annotations

import gc

from pipeline import garbage


def test_what_is_there_at_the_start_is_never_looked_through_again() -> None:
    kept = [[number] for number in range(1000)]
    try:
        garbage.settle()
        assert gc.get_freeze_count() > len(kept)
        assert len(gc.get_objects()) < 1000
    finally:
        gc.unfreeze()
