"""The server's side of a device: starts the worker process, hands it work, takes patches back, starts it anew."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import structlog

from avatars.avatar import Avatar
from pipeline.lipsync.engine import EngineFallback
from pipeline.lipsync.musetalk.memory import Memory
from pipeline.lipsync.musetalk.messages import (
    F32,
    Answer,
    Cancel,
    CloseAvatar,
    Draw,
    Failed,
    Figures,
    Forget,
    FromWorker,
    OpenAvatar,
    Opened,
    Ready,
    Sound,
    Stop,
    ToWorker,
    WorkerSettings,
)
from pipeline.lipsync.musetalk.spawn import start_worker
from pipeline.media import MouthPatch

log = structlog.get_logger(__name__)

READY_SECONDS = 600.0  # to load and measure; compiled variants take minutes
HANG_SECONDS = 5.0  # after its deadline that an answer may still come; then the worker is taken for dead
STOP_SECONDS = 3.0
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the worker is started again, after one failure, two, …; a minute of work makes it start over."""
_LASTED = 60.0
_MESSAGES = 4096  # that may wait to be sent

Patch = Future[MouthPatch | None]
Status = Literal["starting", "ready", "down", "broken", "closed"]


@dataclass(slots=True)
class _Order:
    future: Patch
    avatar: int
    utterance: int
    slot: int
    deadline: float
    instead: Callable[[], Patch]


class Utterance:
    """The worker's memory of one utterance, for as long as a mouth of it exists. None of its calls waits."""

    def __init__(self, renderer: Renderer, key: int, generation: int) -> None:
        self.key, self.generation = key, generation
        self._renderer = renderer
        self._whole = True
        weakref.finalize(self, renderer.forget, key, generation).atexit = False

    def feed(self, sound: F32, last: bool) -> None:
        """The next sound, mono at 16 kHz."""
        if not self._renderer.post(Sound(self.key, sound, last), self.generation):
            self._whole = False  # with a gap, mouths would no longer fit the sound

    @property
    def alive(self) -> bool:
        """Whether its worker still runs, and got all of its sound."""
        renderer = self._renderer
        return self._whole and renderer.generation == self.generation and renderer.ready is not None


class Renderer:
    """One device. Thread-safe; only `close` and `wait…` wait. Owns a process and two threads, from `start` on."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._orders: dict[int, _Order] = {}
        self._avatars: dict[int, OpenAvatar] = {}
        self._canvas: dict[int, tuple[int, int]] = {}
        self._unusable: set[int] = set()
        self._outbox: queue.Queue[tuple[int, ToWorker] | None] = queue.Queue(_MESSAGES)
        self._memory: Memory | None = None
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._owner = threading.Thread(target=self._own, name="musetalk", daemon=True)
        self._sender = threading.Thread(target=self._send, name="musetalk-out", daemon=True)
        self.generation = 0
        """Raised with each start of the worker."""
        self.ready: Ready | None = None
        """What the worker told when it was ready; None while there is none."""
        self.status: Status = "starting"
        self.problem = ""
        self.figures = Figures(0, 0, 0, 0)
        self.restarts = 0

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start the worker; does not wait for it."""
        self._owner.start()
        self._sender.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the worker is ready, or was and is not; whether it is ready."""
        with self._changed:
            self._changed.wait_for(lambda: self.status != "starting", seconds)
        return self.ready is not None

    def close(self) -> None:
        """Stop the worker; whatever was asked for fails. The process is gone when this returns."""
        self._closing.set()
        try:
            self._outbox.put_nowait((self.generation, Stop()))
        except queue.Full:
            self._kill()
        if self._owner.is_alive():
            self._owner.join(STOP_SECONDS)
            if self._owner.is_alive():
                self._kill()
                self._owner.join(STOP_SECONDS)
        self._set("closed")
        self._outbox.put(None)
        if self._sender.is_alive():
            self._sender.join(STOP_SECONDS)

    @property
    def pid(self) -> int | None:
        """The worker's process."""
        return self._process.pid if self._process is not None else None

    @property
    def frames_per_second(self) -> float | None:
        """Mouths a second, as measured at the start; None while nothing was."""
        return self.ready.frames_per_second if self.ready is not None else None

    # -- work ---------------------------------------------------------------------------------------------------

    def open(self, avatar: Avatar) -> int:
        """Have an avatar's prepared data loaded, now and after every restart; gives its key. Until it is there, and
        where it cannot be, orders for it fall back."""
        key = next(self._numbers)
        order = OpenAvatar(key, str(avatar.path), avatar.width, avatar.height, avatar.count)
        with self._lock:
            self._avatars[key] = order
        self.post(order, self.generation)
        return key

    def let_go(self, avatar: int) -> None:
        """An avatar's face is no longer used."""
        with self._lock:
            self._avatars.pop(avatar, None)
            self._canvas.pop(avatar, None)
            self._unusable.discard(avatar)
        self.post(CloseAvatar(avatar), self.generation)

    def opened(self, avatar: int) -> bool:
        """Whether mouths can be drawn on it now."""
        return avatar in self._canvas

    def wait_opened(self, avatar: int, seconds: float) -> bool:
        """Wait until mouths can be drawn on an avatar, or its data turned out unusable; whether they can."""
        with self._changed:
            self._changed.wait_for(
                lambda: avatar in self._canvas or avatar in self._unusable or self.status != "ready", max(0.0, seconds)
            )
        return avatar in self._canvas

    def utterance(self) -> Utterance | None:
        """A new utterance; None: no worker is ready."""
        if self.ready is None:
            return None
        return Utterance(self, next(self._numbers), self.generation)

    def draw(
        self,
        avatar: int,
        frame: int,
        utterance: Utterance,
        index: int,
        presence: float,
        deadline: float,
        instead: Callable[[], Patch],
    ) -> Patch:
        """A mouth; see Face.submit. instead: another engine's, asked for where this one cannot."""
        memory = self._memory
        if not utterance.alive or memory is None or avatar not in self._canvas:
            return instead()
        try:
            slot = memory.free.popleft()
        except IndexError:  # more is under way than anybody can see in time
            return instead()
        future: Patch = Future()
        job = next(self._numbers)
        with self._lock:
            if self._memory is not memory:  # the worker ended just now
                return instead()
            self._orders[job] = _Order(future, avatar, utterance.key, slot, deadline, instead)
        draw = Draw(job, avatar, frame, utterance.key, index, presence, deadline, slot)
        if not self.post(draw, utterance.generation):
            with self._lock:
                lost = self._orders.pop(job, None)
            if lost is not None:
                memory.free.appendleft(slot)
                return instead()
        future.add_done_callback(
            lambda done: self.post(Cancel(job), utterance.generation) if done.cancelled() else None
        )
        return future

    def forget(self, utterance: int, generation: int) -> None:
        self.post(Forget(utterance), generation)

    def post(self, message: ToWorker, generation: int) -> bool:
        """Hand a message to the worker of a generation; False: it is not running, or does not keep up."""
        if generation != self.generation:
            return False
        try:
            self._outbox.put_nowait((generation, message))
        except queue.Full:
            return False
        return True

    # -- the owner's thread -------------------------------------------------------------------------------------

    def _own(self) -> None:
        """Start the worker and read what it says; when it ends, fail what was asked and start it again."""
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            why, lasting = "", False
            try:
                why, lasting = self._one_life()
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                log.exception("musetalk_owner_failed")
            finally:
                self._bury()
            if self._closing.is_set():
                break
            self.problem = why
            failures = 1 if time.monotonic() - began > _LASTED else failures + 1
            pause = BACK_OFF[min(failures, len(BACK_OFF)) - 1]
            log.error("musetalk_worker_ended", why=why, again_in=None if lasting else pause)
            self._set("broken" if lasting else "down")
            self._fail_orders(why)
            if lasting:
                return
            self._closing.wait(pause)
            self.restarts += 1
        self._fail_orders("the engine was closed")

    def _one_life(self) -> tuple[str, bool]:
        """One worker from its start to its end: why it ended, and whether it would again."""
        settings = self._settings
        memory = Memory(settings.slots, settings.slot_bytes)
        self._process, connection = start_worker(settings, memory)
        self._drop_outbox()
        with self._lock:
            self._memory, self._connection = memory, connection
            self.generation += 1
            again = list(self._avatars.values())
        for order in again:
            self.post(order, self.generation)
        ready_by = time.monotonic() + READY_SECONDS
        while True:
            if connection.poll(0.5):
                try:
                    messages: list[FromWorker] = connection.recv()
                except (EOFError, OSError):
                    try:
                        code: int | None = self._process.wait(STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        code = None
                    return f"the worker process ended with status {code}", False
                for message in messages:
                    if isinstance(message, Failed):
                        return message.message, message.lasting
                    self._take(message)
            now = time.monotonic()
            if self._closing.is_set() and self.ready is None:
                return "it was closed while it started", False
            if self.ready is None and now > ready_by:
                return f"the worker was not ready after {READY_SECONDS:.0f} s", False
            if self._hangs(now):
                return f"the worker gave no answer for {HANG_SECONDS:.0f} s", False

    def _take(self, message: FromWorker) -> None:
        match message:
            case Answer():
                self._answer(message)
            case Opened():
                if message.problem is not None:
                    log.error("musetalk_avatar_unusable", avatar=message.avatar, why=message.problem)
                    self._unusable.add(message.avatar)
                elif message.avatar in self._avatars:
                    self._canvas[message.avatar] = (message.width, message.height)
                with self._changed:
                    self._changed.notify_all()
            case Ready():
                self.ready = message
                self._set("ready")
                rate = round(message.frames_per_second, 1)
                log.info("musetalk_ready", device=message.device, mouths_per_second=rate, seconds=message.seconds)
            case Figures():
                self.figures = message
            case Failed():
                pass  # handled where it ends the worker's life

    def _answer(self, answer: Answer) -> None:
        with self._lock:
            order = self._orders.pop(answer.job, None)
        memory = self._memory
        if order is None or memory is None:
            return
        canvas = self._canvas.get(order.avatar)
        if answer.outcome != "drawn" or canvas is None:
            memory.free.appendleft(order.slot)
            if answer.outcome == "nothing":
                _settle(order.future, None)
            else:  # late: whoever ordered it counts it so
                order.future.cancel()
            return
        _settle(order.future, memory.patch(order.slot, canvas, answer.place))

    def _hangs(self, now: float) -> bool:
        if self.ready is None:
            return False
        with self._lock:
            oldest = min((order.deadline for order in self._orders.values()), default=now)
        return now > oldest + HANG_SECONDS

    def _bury(self) -> None:
        """The worker is gone: its process is reaped, whatever state it was in."""
        with self._lock:
            connection, self._connection, self._memory = self._connection, None, None
            self.ready = None
            self._canvas.clear()
        self._kill()
        if connection is not None:
            connection.close()
        self._process = None

    def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)

    def _fail_orders(self, why: str) -> None:
        """What was under way: the first mouth of each utterance fails, which tells its session; others fall back."""
        with self._lock:
            orders = sorted(
                (order for order in self._orders.values() if not order.future.cancelled()),
                key=lambda order: order.deadline,
            )
            self._orders.clear()
        told: set[int] = set()
        for order in orders:
            if order.utterance in told:
                _forward(order.instead, order.future)
                continue
            told.add(order.utterance)
            _settle(order.future, EngineFallback(f"MuseTalk failed ({why}); the warp engine goes on."))

    def _set(self, status: Status) -> None:
        with self._changed:
            self.status = status
            self._changed.notify_all()

    # -- the sender's thread ------------------------------------------------------------------------------------

    def _send(self) -> None:
        while (first := self._outbox.get()) is not None:
            waiting = [first]
            while not self._outbox.empty() and len(waiting) < 256:
                more = self._outbox.get()
                if more is None:
                    return
                waiting.append(more)
            with self._lock:
                connection, generation = self._connection, self.generation
            messages = [message for of, message in waiting if of == generation]
            if connection is None or not messages:
                continue
            try:
                connection.send(messages)
            except (OSError, ValueError) as error:  # it died; the owner sees it as well
                log.debug("musetalk_send_failed", why=str(error))

    def _drop_outbox(self) -> None:
        """What was meant for the worker before."""
        while True:
            try:
                self._outbox.get_nowait()
            except queue.Empty:
                return


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
    if future.cancelled():
        return
    try:
        other = instead()
    except Exception as error:  # noqa: BLE001 - it was closed, or failed as well: the session is told
        _settle(future, error)
        return
    other.add_done_callback(
        lambda done: _settle(future, None if done.cancelled() else done.exception() or done.result())  # type: ignore[arg-type]
    )
