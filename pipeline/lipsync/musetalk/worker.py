"""The process of a device: hears utterances, draws mouths in batches, writes patches into the shared memory.

Started by renderer.py as `python -m pipeline.lipsync.musetalk.worker SOCKET-FD MEMORY-FD`; ends with its socket.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import mmap
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_began = time.monotonic()
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
if __name__ == "__main__":  # before torch is loaded, which takes seconds
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

import numpy as np  # noqa: E402
import torch  # noqa: E402 - the clock starts before the slowest import

from avatars.master import map_cache  # noqa: E402
from pipeline import memory  # noqa: E402
from pipeline.lipsync.musetalk import drawing, prepared, prompts  # noqa: E402
from pipeline.lipsync.musetalk.installation import InstallationError, find  # noqa: E402
from pipeline.lipsync.musetalk.listening import Block, Hearing  # noqa: E402
from pipeline.lipsync.musetalk.messages import (  # noqa: E402
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
from pipeline.lipsync.musetalk.scheduler import Batch, Job, Scheduler  # noqa: E402
from pipeline.lipsync.musetalk.stage import Blender, Stage  # noqa: E402
from pipeline.timings import Spread  # noqa: E402

log = logging.getLogger(__name__)

KEPT_FRAMES = 1500
"""Frames of an utterance whose features are kept: speech is made 2 s ahead and mouths are asked for 0.4 s ahead, but a
voice may give a whole long sentence at once."""

TELL = 1.0
"""Seconds between two reports of the figures, while they change."""

LEAD = 0.005
"""Seconds before a batch's expected end at which the next is chosen, so that the device finds it waiting."""

_SIZES = {"cuda": (1, 2, 4, 8, 12, 16, 24), "cpu": (1,)}  # a CPU gains nothing by batches


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An avatar was brought to the device, or could not be."""

    avatar: int
    outcome: Stage | Exception


class Inbox:
    """Messages as they come, read by a thread of its own. The process ends when the server does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: deque[ToWorker | _Loaded] = deque()
        self._came = threading.Condition()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def put(self, message: _Loaded) -> None:
        """From another thread of this process."""
        with self._came:
            self._messages.append(message)
            self._came.notify()

    def take(self, seconds: float | None) -> list[ToWorker | _Loaded]:
        """All that came; waits up to `seconds` for the first (None: as long as it takes)."""
        with self._came:
            if not self._messages:
                self._came.wait(seconds)
            taken = list(self._messages)
            self._messages.clear()
        return taken

    def _read(self) -> None:
        while True:
            try:
                messages = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the server has gone: nothing is left to do, whatever the device is at
            with self._came:
                self._messages.extend(messages)
                self._came.notify()


@dataclass(slots=True)
class _Utterance:
    hearing: Hearing
    blocks: deque[Block]

    def window(self, index: int) -> torch.Tensor | None:
        for block in reversed(self.blocks):
            if block.first <= index < block.first + block.count:
                return block.window(index)
        return None


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A batch under way. starts, ends: when the device is expected to; done: the CUDA event at its end."""

    batch: Batch
    answers: list[FromWorker]
    starts: float
    ends: float
    done: Any


class Worker:
    """Holds what is loaded and what was asked; `run` until it is told to stop."""

    def __init__(self, settings: WorkerSettings, inbox: Inbox, connection: Connection, memory: torch.Tensor) -> None:
        """memory: (slots, slot_bytes) uint8. Raises InstallationError."""
        self._inbox, self._connection, self._memory = inbox, connection, memory
        name = settings.device
        if name == "auto":
            name = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(name)
        self._async = self.device.type == "cuda"
        if self.device.index is not None:  # streams, graphs and Triton's kernels go to the thread's current device
            torch.cuda.set_device(self.device)
        precision = settings.precision or ("fp16" if self._async else "fp32")
        dtype = drawing.DTYPES[precision]
        installation = find(settings.base, settings.version)
        self._listener = prompts.Listener(installation, name, dtype)
        self._drawer = drawing.load(installation, self.device, precision, settings.sizes or _SIZES[self.device.type])
        self._blender = Blender(self.device)
        for count in prompts.TOGETHER if self._async else (1,):  # so that no plan is made in mid-speech
            self._listener.states([np.zeros(prompts.RATE, np.float32)] * count)
        self._scheduler = Scheduler(self._drawer.costs, run_ahead=settings.run_ahead, longest=settings.longest)
        self._stages: dict[int, Stage] = {}
        self._utterances: dict[int, _Utterance] = {}
        self._draws: dict[int, Draw] = {}
        self._out: list[FromWorker] = []
        self._batches = self._encodings = 0
        self._sizes: Counter[int] = Counter()
        self._seconds = Spread()
        self._told = self._ended = 0.0
        self._counts = (0, 0)  # drawn and skipped, as they were told
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._stopped = False

    def run(self) -> None:
        """Until Stop. While a batch is on the device the next is chosen, but not before that one is about to end."""
        rate = self._scheduler.frames_per_second
        memory.settle()
        self._out.append(Ready(str(self.device), self._drawer.costs, rate, time.monotonic() - _began))
        under_way: _Drawing | None = None
        while not self._stopped:
            self._send()
            self._listen(under_way)
            now = time.monotonic()
            starts = now if under_way is None else max(now, under_way.ends)
            for job in self._scheduler.late(starts):
                self._answer(job, "late")
            batch = self._scheduler.next(starts)
            following = self._begin(batch, starts) if batch is not None else None
            if under_way is not None:
                self._end(under_way)
            if following is not None and following.done is None:  # on the CPU it is done already
                self._end(following)
                following = None
            under_way = following

    def _listen(self, under_way: _Drawing | None) -> None:
        """Take what comes until it is time to choose a batch; then have the new sound encoded, all in one call."""
        if under_way is None:
            busy = any(u.hearing.wants for u in self._utterances.values())
            self._take(0.0 if busy else self._idle(time.monotonic()))
        else:
            while (left := under_way.ends - LEAD - time.monotonic()) > 0 and not self._stopped:
                self._take(left)
            self._take(0.0)
        self._encode()  # queues up behind the batch under way

    def _idle(self, now: float) -> float | None:
        """Seconds until something is to be done if nothing comes: a mouth, or figures to be told; None: nothing is."""
        waits = (self._scheduler.wake(now), max(0.0, self._told + TELL - now) if self._untold else None)
        return min((wait for wait in waits if wait is not None), default=None)

    def _take(self, seconds: float | None) -> None:
        for message in self._inbox.take(seconds):
            self._handle(message)

    # -- what comes in ------------------------------------------------------------------------------------------

    def _handle(self, message: ToWorker | _Loaded) -> None:
        match message:
            case Draw():
                self._draws[message.job] = message
                self._scheduler.add(
                    Job(message.job, message.utterance, message.index, message.deadline), time.monotonic()
                )
            case Cancel():
                if self._scheduler.cancel(message.job):
                    del self._draws[message.job]
                    self._out.append(Answer(message.job, "cancelled"))
            case Sound():
                new = _Utterance(Hearing(), deque())
                self._utterances.setdefault(message.utterance, new).hearing.feed(message.sound, message.last)
            case Forget():
                self._utterances.pop(message.utterance, None)
                for job in self._scheduler.forget(message.utterance):
                    self._answer(job, "cancelled")
            case OpenAvatar():
                self._loader.submit(self._load, message)
            case _Loaded():
                self._loaded(message)
            case CloseAvatar():
                self._stages.pop(message.avatar, None)
            case Stop():
                self._stopped = True

    def _load(self, order: OpenAvatar) -> None:
        """On the loader's thread: it takes up to a second, in which the others' mouths go on."""
        try:
            folder = Path(order.folder)
            data = prepared.load(folder / "musetalk", count=order.count)
            frames = map_cache(folder, order.width, order.height, order.count)
            stage = Stage(data, frames, order.width, order.height, self.device, self._drawer.dtype)
        except Exception as error:  # noqa: BLE001 - whatever it is, the main thread tells it
            self._inbox.put(_Loaded(order.avatar, error))
            return
        self._inbox.put(_Loaded(order.avatar, stage))

    def _loaded(self, loaded: _Loaded) -> None:
        stage = loaded.outcome
        if isinstance(stage, Exception):  # too large for the device, too: the others' mouths go on
            self._out.append(Opened(loaded.avatar, problem=f"{type(stage).__name__}: {stage}"))
        elif stage.bytes > self._memory.shape[1]:
            problem = f"its patches of {stage.width}x{stage.height} are larger than the memory they come back in"
            self._out.append(Opened(loaded.avatar, problem=problem))
        else:
            self._stages[loaded.avatar] = stage
            self._out.append(Opened(loaded.avatar, stage.width, stage.height))

    # -- the device's work --------------------------------------------------------------------------------------

    def _encode(self) -> None:
        """One call of the encoder, for the utterances that have new sound."""
        wanting = [(key, u) for key, u in self._utterances.items() if u.hearing.wants][: prompts.TOGETHER[-1]]
        if not wanting:
            return
        self._encodings += 1
        states = self._listener.states([utterance.hearing.sound() for _, utterance in wanting])
        for (key, utterance), features in zip(wanting, states, strict=True):
            block = utterance.hearing.take(features)
            if block is None:
                continue
            utterance.blocks.append(block)
            while utterance.blocks[0].first + utterance.blocks[0].count < utterance.hearing.known - KEPT_FRAMES:
                utterance.blocks.popleft()
            self._scheduler.hear(key, utterance.hearing.known)

    def _begin(self, batch: Batch, starts: float) -> _Drawing | None:
        """Put a batch on the device, grouped by canvas; what cannot be drawn is answered at once."""
        ends = starts + self._scheduler.costs[batch.bucket]
        ready: list[tuple[Draw, Stage, torch.Tensor]] = []
        for job in batch.jobs:
            draw = self._draws.pop(job.id)
            stage = self._stages.get(draw.avatar)
            window = self._utterances[draw.utterance].window(draw.index) if draw.utterance in self._utterances else None
            if stage is None or window is None or not stage.usable[draw.frame]:
                self._out.append(Answer(draw.job, "nothing"))
            else:
                ready.append((draw, stage, window))
        if not ready:
            return None
        ready.sort(key=lambda item: item[1].canvas)
        faces = self._drawer.draw(
            batch.bucket, [stage.latents[draw.frame] for draw, stage, _ in ready], [window for _, _, window in ready]
        )
        answers: list[FromWorker] = []
        for _, group in itertools.groupby(ready, key=lambda item: item[1].canvas):
            part = list(group)
            places = [(stage, draw.frame) for draw, stage, _ in part]
            start = len(answers)
            patches = self._blender.lay(faces[start : start + len(part)], places, [d.presence for d, _, _ in part])
            for (draw, stage, _), patch in zip(part, patches, strict=True):
                self._memory[draw.slot, : stage.bytes].copy_(patch, non_blocking=True)
                answers.append(Answer(draw.job, "drawn", stage.places[draw.frame]))
        done = None
        if self._async:
            done = torch.cuda.Event(blocking=True)
            done.record()
        return _Drawing(batch, answers, starts, ends, done)

    def _end(self, drawing_: _Drawing) -> None:
        """Wait for a batch, and answer."""
        if drawing_.done is not None:
            drawing_.done.synchronize()
        now = time.monotonic()
        took = now - max(drawing_.starts, self._ended)
        self._scheduler.took(drawing_.batch.bucket, took)
        self._ended = now
        self._batches += 1
        self._sizes[len(drawing_.batch.jobs)] += 1
        self._seconds.add(took)
        self._out.extend(drawing_.answers)

    def _answer(self, job: Job, outcome: Any) -> None:
        self._draws.pop(job.id, None)
        self._out.append(Answer(job.id, outcome))

    @property
    def _untold(self) -> bool:
        return self._counts != (self._scheduler.drawn, self._scheduler.skipped)

    def _send(self) -> None:
        now = time.monotonic()
        if now - self._told >= TELL and self._untold:
            self._told = now
            counts = self._scheduler
            self._counts = (counts.drawn, counts.skipped)
            self._out.append(
                Figures(
                    counts.drawn,
                    counts.skipped,
                    self._batches,
                    self._encodings,
                    dict(counts.costs),
                    dict(self._sizes),
                    self._seconds,
                )
            )
        if self._out:
            self._connection.send(self._out)
            self._out = []


def main(arguments: list[str]) -> int:
    """Ends with the server: by its socket, and by the kernel's word if this process hangs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the server's to handle
    connection = Connection(int(arguments[0]))
    try:
        settings: WorkerSettings = connection.recv()
    except EOFError:
        return 0
    os.nice(settings.nice)
    torch.set_num_threads(settings.threads)
    memory = torch.frombuffer(mmap.mmap(int(arguments[1]), 0), dtype=torch.uint8).view(settings.slots, -1)
    inbox = Inbox(connection)
    try:
        worker = Worker(settings, inbox, connection, memory)
        if worker.device.type == "cuda":  # copies from the device go straight into the shared memory
            code = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.numel(), 0))
            if code != 0:
                log.warning("the patches' memory cannot be pinned (CUDA error %d): copies will be slower", code)
        worker.run()
    except Exception as error:
        logging.basicConfig()
        log.exception("the worker failed")
        connection.send([Failed(f"{type(error).__name__}: {error}", isinstance(error, InstallationError))])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
