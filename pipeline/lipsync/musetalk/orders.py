"""The mouths that a worker was asked for and has not answered: each gets one outcome, whatever becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

from pipeline.lipsync.engine import EngineFallback
from pipeline.lipsync.musetalk.memory import Memory
from pipeline.lipsync.musetalk.messages import Answer
from pipeline.media import MouthPatch

Patch = Future[MouthPatch | None]

Tell = Callable[[str], EngineFallback | None]
"""What an utterance's session is told when its worker fails, given why; None: it was told before."""


@dataclass(frozen=True, slots=True)
class Order:
    """instead: another engine's mouth, asked for where this one fails."""

    future: Patch
    avatar: int
    slot: int
    deadline: float
    tell: Tell
    instead: Callable[[], Patch]


class Orders:
    """Of one worker, from its start to its end. Thread-safe."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._lock = threading.Lock()
        self._waiting: dict[int, Order] = {}
        self._failed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def place(self, job: int, avatar: int, deadline: float, tell: Tell, instead: Callable[[], Patch]) -> Order | None:
        """None: the worker has failed, or more is under way than anybody can see in time."""
        try:
            slot = self.memory.free.popleft()
        except IndexError:
            return None
        order = Order(Future(), avatar, slot, deadline, tell, instead)
        with self._lock:
            if self._failed:
                return None
            self._waiting[job] = order
        return order

    def withdraw(self, job: int) -> bool:
        """An order was not sent. False: it has its outcome already."""
        order = self._take(job)
        if order is not None:
            self.memory.free.appendleft(order.slot)
        return order is not None

    def answer(self, answer: Answer, canvas: Callable[[int], tuple[int, int] | None]) -> None:
        """What the worker says of an order. canvas: width and height of an avatar's, None: it was let go."""
        order = self._take(answer.job)
        if order is None:
            return
        size = canvas(order.avatar)
        if answer.outcome == "drawn" and size is not None:
            _settle(order.future, self.memory.patch(order.slot, size, answer.place))
            return
        self.memory.free.appendleft(order.slot)
        if answer.outcome == "nothing":
            _settle(order.future, None)
        else:  # late: whoever ordered it counts it so
            order.future.cancel()

    def overdue(self, now: float) -> float:
        """Seconds since the earliest deadline that is not answered."""
        with self._lock:
            return now - min((order.deadline for order in self._waiting.values()), default=now)

    def fail(self, why: str) -> None:
        """The worker has ended: a mouth of each utterance fails, which tells its session; the others fall back."""
        with self._lock:
            self._failed = True
            orders = sorted(self._waiting.values(), key=lambda order: order.deadline)
            self._waiting.clear()
        for order in orders:
            if order.future.cancelled():
                continue
            error = order.tell(why)
            if error is not None:
                _settle(order.future, error)
            else:
                _forward(order.instead, order.future)

    def _take(self, job: int) -> Order | None:
        with self._lock:
            return self._waiting.pop(job, None)


def failed(error: EngineFallback) -> Patch:
    """A mouth that failed at once."""
    future: Patch = Future()
    future.set_exception(error)
    return future


def _settle(future: Patch, outcome: MouthPatch | Exception | None) -> None:
    """Give a future its outcome, unless it was cancelled."""
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass  # cancelled: nobody wants it


def _forward(instead: Callable[[], Patch], future: Patch) -> None:
    """Let another engine's patch be the outcome."""
    try:
        other = instead()
    except Exception as error:  # noqa: BLE001 - it was closed, or failed as well: the session is told
        _settle(future, error)
        return
    other.add_done_callback(
        lambda done: _settle(future, None if done.cancelled() else done.exception() or done.result())  # type: ignore[arg-type]
    )
