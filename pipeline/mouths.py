"""The mouths a session has ordered from its face: each rendered once, at hand when its picture is made, or late."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from pipeline.lipsync.engine import Face
from pipeline.media import MouthPatch
from pipeline.playout import Order
from pipeline.timings import Spread

_SMOOTH = 0.1  # weight of the newest rendering time in their running mean


@dataclass(slots=True)
class _Timing:
    """Apart from its slot: a future keeps its callbacks, and a patch in a cycle waits for the garbage collector."""

    asked: float
    done: float | None = None  # written once, by the engine's thread

    def finished(self, _: Future[MouthPatch | None]) -> None:
        self.done = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Slot:
    order: Order
    future: Future[MouthPatch | None]
    timing: _Timing


class MouthOrders:
    """Orders by position. Used on the event loop; nothing here waits.

    on_failure: told of each rendering that failed. taken: takes the seconds from each order to its patch.
    """

    def __init__(self, face: Face, on_failure: Callable[[Exception], None], taken: Spread | None = None) -> None:
        self._face = face
        self._on_failure = on_failure
        self._taken = taken or Spread()
        self._slots: dict[int, _Slot] = {}
        self.rendered = 0
        self.late = 0
        self.failed = 0
        self.seconds = 0.02  # running mean from order to patch

    def __len__(self) -> int:
        return len(self._slots)

    def want(self, orders: Sequence[Order], deadline: Callable[[int], float]) -> None:
        """Have these rendered, and nothing else: orders that are no longer wanted are cancelled.

        deadline: when a position's picture is made, in monotonic seconds.
        """
        wanted = {order.position: order for order in orders}
        for position, slot in tuple(self._slots.items()):
            if wanted.get(position) != slot.order:
                slot.future.cancel()
                del self._slots[position]
        for position, order in wanted.items():
            if position not in self._slots:
                self._submit(order, deadline(position))

    def ready(self, order: Order) -> bool:
        """Whether waiting for this mouth brings nothing more."""
        slot = self._slots.get(order.position)
        return slot is not None and slot.order == order and slot.future.done()

    def take(self, order: Order) -> MouthPatch | None:
        """The patch for an order, if it is there. What is late is counted and dropped."""
        slot = self._slots.pop(order.position, None)
        if slot is None or slot.order != order or not slot.future.done():
            self.late += 1
            if slot is not None:
                slot.future.cancel()
            return None
        try:
            patch = slot.future.result(0)
        except CancelledError:
            self.late += 1
            return None
        except Exception as error:  # noqa: BLE001 - whatever an engine raises: the session goes on without this mouth
            self._fail(error)
            return None
        timing = slot.timing
        if timing.done is not None:
            took = timing.done - timing.asked
            self.seconds += _SMOOTH * (took - self.seconds)
            self._taken.add(took)
        self.rendered += 1
        return patch

    def clear(self) -> None:
        for slot in self._slots.values():
            slot.future.cancel()
        self._slots.clear()

    def _submit(self, order: Order, deadline: float) -> None:
        now = time.monotonic()
        try:
            future = self._face.submit(order.frame, order.mouth, order.presence, deadline)
        except Exception as error:  # noqa: BLE001 - an engine that was closed or is broken: as above
            future = Future()
            future.set_exception(error)
        slot = _Slot(order, future, _Timing(now))
        future.add_done_callback(slot.timing.finished)
        self._slots[order.position] = slot

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        self._on_failure(error)
