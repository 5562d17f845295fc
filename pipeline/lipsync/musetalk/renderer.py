"""The server's side of a device: starts the worker process, hands it work, takes patches back, starts it anew."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
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
from pipeline.lipsync.musetalk.orders import Orders, Patch, failed
from pipeline.lipsync.musetalk.outbox import Outbox
from pipeline.lipsync.musetalk.spawn import start_worker

log = structlog.get_logger(__name__)

READY_SECONDS = 600.0  # to load and measure; compiled variants take minutes
HANG_SECONDS = 5.0  # after its deadline that an answer may still come; then the worker is taken for dead
STOP_SECONDS = 3.0
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the worker is started again, after one failure, two, …; a minute of work makes it start over."""
_LASTED = 60.0

Status = Literal["starting", "ready", "down", "broken", "closed"]


class Utterance:
    """The worker's memory of one utterance, for as long as a mouth of it exists. None of its calls waits."""

    def __init__(self, renderer: Renderer, key: int, generation: int) -> None:
        self.key, self.generation = key, generation
        self._renderer = renderer
        self._whole = True
        self._told = False
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

    def tell(self, why: str) -> EngineFallback | None:
        """What its session is told of the failure, the first time; then None."""
        if self._told:
            return None
        self._told = True
        why = why if self._whole else "it did not keep up"
        return EngineFallback(f"MuseTalk failed ({why}); the warp engine goes on.")


class Renderer:
    """One device. Thread-safe; only `close` and `wait…` wait. Owns a process and two threads, from `start` on."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()  # let_go takes it from a finalizer, which may run while it is held
        self._numbers = itertools.count(1)
        self._avatars: dict[int, OpenAvatar] = {}
        self._canvas: dict[int, tuple[int, int]] = {}
        self._unusable: set[int] = set()
        self._outbox = Outbox()
        self._orders: Orders | None = None  # of the worker that runs
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._owner = threading.Thread(target=self._own, name="musetalk", daemon=True)
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
        self._outbox.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the worker is ready, or was and is not; whether it is ready."""
        with self._changed:
            self._changed.wait_for(lambda: self.status != "starting", seconds)
        return self.ready is not None

    def close(self) -> None:
        """Stop the worker; whatever was asked for fails. The process is gone when this returns."""
        self._closing.set()
        if not self._outbox.put(self.generation, Stop()):
            self._kill()
        if self._owner.is_alive():
            self._owner.join(STOP_SECONDS)
            if self._owner.is_alive():
                self._kill()
                self._owner.join(STOP_SECONDS)
        self._set("closed")
        self._outbox.close()

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
        return self.ready is not None and avatar in self._canvas

    def wait_opened(self, avatar: int, seconds: float) -> bool:
        """Wait until mouths can be drawn on an avatar, or its data turned out unusable; whether they can."""
        with self._changed:
            self._changed.wait_for(
                lambda: avatar in self._canvas or avatar in self._unusable or self.status != "ready", max(0.0, seconds)
            )
        return self.opened(avatar)

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
        orders = self._orders
        if not utterance.alive:
            error = utterance.tell(self.problem or "its worker has ended")
            return instead() if error is None else failed(error)
        if orders is None or avatar not in self._canvas:
            return instead()
        job = next(self._numbers)
        order = orders.place(job, avatar, deadline, utterance.tell, instead)
        if order is None:
            return instead()
        draw = Draw(job, avatar, frame, utterance.key, index, presence, deadline, order.slot)
        if not self.post(draw, utterance.generation) and orders.withdraw(job):
            return instead()
        order.future.add_done_callback(
            lambda done: self.post(Cancel(job), utterance.generation) if done.cancelled() else None
        )
        return order.future

    def forget(self, utterance: int, generation: int) -> None:
        self.post(Forget(utterance), generation)

    def post(self, message: ToWorker, generation: int) -> bool:
        """Hand a message to the worker of a generation; False: it is not running, or does not keep up."""
        return generation == self.generation and self._outbox.put(generation, message)

    # -- the owner's thread -------------------------------------------------------------------------------------

    def _own(self) -> None:
        """Start the worker and read what it says; when it ends, fail what was asked and start it again."""
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                why, lasting = self._one_life()
            except Exception as error:
                why, lasting = f"{type(error).__name__}: {error}", False
                log.exception("musetalk_owner_failed")
            orders = self._lose(why)
            self._kill()
            self._process = None
            if self._closing.is_set():
                why, lasting = "the engine was closed", True
            else:
                failures = 1 if time.monotonic() - began > _LASTED else failures + 1
                pause = BACK_OFF[min(failures, len(BACK_OFF)) - 1]
                log.error("musetalk_worker_ended", why=why, again_in=None if lasting else pause)
                self._set("broken" if lasting else "down")
            if orders is not None:
                orders.fail(why)
            if lasting:
                return
            self._closing.wait(pause)
            self.restarts += 1

    def _one_life(self) -> tuple[str, bool]:
        """One worker from its start to its end: why it ended, and whether it would again."""
        settings = self._settings
        memory = Memory(settings.slots, settings.slot_bytes)
        self._process, connection = start_worker(settings, memory)
        with self._lock:
            self._orders = orders = Orders(memory)
            self.generation += 1
            again = list(self._avatars.values())
        self._outbox.connect(connection, self.generation)
        for order in again:
            self.post(order, self.generation)
        ready_by = time.monotonic() + READY_SECONDS
        while True:
            if connection.poll(0.5):
                messages = _received(connection)
                if messages is None:
                    return self._ended(self._process), False
                for message in messages:
                    if isinstance(message, Failed):
                        return message.message, message.lasting
                    self._take(message)
            now = time.monotonic()
            if self._closing.is_set() and self.ready is None:
                return "it was closed while it started", False
            if self.ready is None and now > ready_by:
                return f"the worker was not ready after {READY_SECONDS:.0f} s", False
            if self.ready is not None and orders.overdue(now) > HANG_SECONDS:
                return f"the worker gave no answer for {HANG_SECONDS:.0f} s", False

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        """Its connection is closed; its process may still be busy giving the device back."""
        self.problem, self.ready = "the worker process ended", None  # mouths are warp's from here on
        try:
            return f"the worker process ended with status {process.wait(STOP_SECONDS)}"
        except subprocess.TimeoutExpired:
            return "the worker process closed its connection"

    def _take(self, message: FromWorker) -> None:
        match message:
            case Answer():
                if self._orders is not None:
                    self._orders.answer(message, self._canvas.get)
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

    def _lose(self, why: str) -> Orders | None:
        """Nothing is drawn from here on; gives what was asked for."""
        with self._lock:
            orders, self._orders = self._orders, None
            self.ready = None
            self.problem = "" if self._closing.is_set() else why
            self._canvas.clear()
        self._outbox.disconnect()
        return orders

    def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # its device holds it: nothing more can be done, and others must go on
            log.error("musetalk_worker_lingers", pid=process.pid)

    def _set(self, status: Status) -> None:
        with self._changed:
            self.status = status
            self._changed.notify_all()


def _received(connection: Connection) -> list[FromWorker] | None:
    """What the worker says; None: it has ended."""
    try:
        messages: list[FromWorker] = connection.recv()
    except (EOFError, OSError):
        return None
    return messages
