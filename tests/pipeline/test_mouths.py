"""Mouths that were ordered: a patch is gone as soon as its picture is made."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from pipeline.mouths import MouthOrders
from pipeline.playout import Order
from tests.pipeline.fakes import FakeFace, make_avatar


@pytest.mark.parametrize("taken", [True, False])
def test_a_patch_does_not_wait_for_the_garbage_collector(taken: bool) -> None:
    face = FakeFace(make_avatar(), seconds=0.05)  # callbacks of what is done already are not kept
    failures: list[Exception] = []
    mouths = MouthOrders(face, failures.append)
    order = Order(position=5, frame=5, source=("u", 0), presence=1.0, mouth=0.5)
    gc.disable()
    try:
        mouths.want([order], lambda position: time.monotonic() + 5)
        slot = mouths._slots[order.position]
        slot.future.result(5)
        face.close()  # its thread lets go of what it rendered
        patch = slot.future.result()
        assert patch is not None
        gone = weakref.ref(patch.luma)
        del slot, patch
        assert gone() is not None
        if taken:
            assert mouths.take(order) is not None
        else:
            mouths.clear()
        assert gone() is None
    finally:
        gc.enable()
    assert not failures
    assert not len(mouths)
