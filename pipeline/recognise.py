"""Speech to text: what a recogniser is, and faster-whisper in a process of its own, one for all sessions."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger(__name__)

I16 = NDArray[np.int16]

HEADER = struct.Struct("<I")  # samples that follow
LOAD_SECONDS = 60.0
ANSWER_SECONDS = 30.0  # for a minute of speech on a slow machine
REST_SECONDS = 5.0  # between two starts of a process that dies
CLOSE_SECONDS = 2.0
MOST_WAITING = 64
_ROOT = Path(__file__).resolve().parents[1]


class RecogniserError(Exception):
    """Speech could not be recognised. str() is for the log."""


class Recogniser(Protocol):
    """Anything that writes down what is said. Used on one event loop, which it never blocks."""

    async def warm_up(self) -> None:
        """Begin to get ready; does not wait for it."""

    async def transcribe(self, sound: I16, *, urgent: bool) -> str:
        """The words in (n,) samples of 16 kHz mono; "" if there are none. urgent: somebody waits for them, the others'
        partial results come later. Raises RecogniserError.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WhisperSettings:
    """folder: a model in faster-whisper's format. language: as Whisper names it, "" to have it found out."""

    folder: Path
    language: str = ""
    device: str = "cpu"
    threads: int = 2

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "folder": str(self.folder)})


@dataclass(order=True, slots=True)
class _Job:
    rank: tuple[int, int]
    sound: I16 = field(compare=False)
    answer: asyncio.Future[str] = field(compare=False)


class WhisperRecogniser:
    """Keeps a child process that runs the model, at a lower priority than pictures and sound; one request at a time.

    Requests of which nobody waits for the answer any more are passed over.
    """

    def __init__(self, settings: WhisperSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._jobs: list[_Job] = []
        self._count = itertools.count()
        self._came = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._started = float("-inf")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def warm_up(self) -> None:
        if self._worker is None and not self._closed:
            self._came.set()  # the child is started, and waits
            self._worker = asyncio.create_task(self._work(), name="recogniser")

    async def transcribe(self, sound: I16, *, urgent: bool) -> str:
        await self.warm_up()
        if self._closed:
            raise RecogniserError("the recogniser is closed")
        if len(self._jobs) >= MOST_WAITING:
            raise RecogniserError(f"{MOST_WAITING} requests wait already")
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._jobs, _Job((not urgent, next(self._count)), sound, answer))
        self._came.set()
        try:
            return await answer
        finally:
            self._jobs = [job for job in self._jobs if job.answer is not answer]
            heapq.heapify(self._jobs)

    async def close(self) -> None:
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for job in self._jobs:
            if not job.answer.done():
                job.answer.set_exception(RecogniserError("the recogniser is closed"))
        await self._end_child()

    async def _work(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                await self._ready()
                while self._jobs:
                    await self._answer(heapq.heappop(self._jobs))
            except RecogniserError as error:
                log.error("recogniser_failed", reason=str(error))
                jobs, self._jobs = self._jobs, []
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                await self._end_child()

    async def _answer(self, job: _Job) -> None:
        if job.answer.done():
            return
        try:
            child = await self._ready()
            assert child.stdin is not None
            async with asyncio.timeout(ANSWER_SECONDS):
                child.stdin.write(HEADER.pack(len(job.sound)) + job.sound.tobytes())
                await child.stdin.drain()
                reply = await self._line(child)
        except TimeoutError:
            self._fail(job, RecogniserError(f"no answer within {ANSWER_SECONDS:.0f} s"))
        except (OSError, RecogniserError) as error:
            self._fail(job, RecogniserError(str(error)))
        else:
            if not job.answer.done():
                job.answer.set_result(str(reply["text"]))
        finally:
            if not job.answer.done():  # it was under way when this was closed
                job.answer.set_exception(RecogniserError("the recogniser is closed"))

    @staticmethod
    def _fail(job: _Job, error: RecogniserError) -> None:
        if not job.answer.done():
            job.answer.set_exception(error)
        raise error

    async def _ready(self) -> asyncio.subprocess.Process:
        """The child, with its model loaded."""
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end_child()
        if self._clock() - self._started < REST_SECONDS:
            raise RecogniserError("its process has just ended; it is not started again at once")
        self._started = self._clock()
        began = time.perf_counter()
        try:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pipeline.recognise_child",
                self._settings.as_json(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=_ROOT,
            )
            async with asyncio.timeout(LOAD_SECONDS):
                await self._line(self._child)
        except OSError as error:
            raise RecogniserError(f"its process does not start: {error}") from error
        except TimeoutError:
            raise RecogniserError(f"its model did not load within {LOAD_SECONDS:.0f} s") from None
        log.info("recogniser_ready", model=self._settings.folder.name, seconds=round(time.perf_counter() - began, 1))
        return self._child

    @staticmethod
    async def _line(child: asyncio.subprocess.Process) -> dict[str, Any]:
        assert child.stdout is not None
        line = await child.stdout.readline()
        if not line:
            raise RecogniserError("its process ended")
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise RecogniserError("its process answered something else") from error
        if "error" in reply:
            raise RecogniserError(str(reply["error"]))
        return reply

    async def _end_child(self) -> None:
        child = self._child
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await child.wait()
                if child.stdin is not None:
                    child.stdin.close()
                    with contextlib.suppress(OSError):  # what was not sent any more
                        await child.stdin.wait_closed()
        except TimeoutError:
            log.error("recogniser_end_late", pid=child.pid)
        self._child = None  # not before: what is cancelled here is begun again
