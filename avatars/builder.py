"""Builds avatars, one after the other, in child processes; tells how far they are; survives a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from avatars import jobs, models
from avatars.avatar import Avatar
from avatars.errors import AvatarError
from avatars.imports import disk_error
from avatars.jobs import Job, Order
from avatars.master import MASTER
from avatars.record import AvatarRecord, BuildRequest, Consent, Problem, QualityReport, SourceFacts
from avatars.sandbox import Limits
from avatars.stages import BuildSettings, Progress, run_child
from avatars.store import AvatarStore, open_folder, write_record

T = TypeVar("T")
Prepare = Callable[[Avatar, Progress], None]
_LOOKS = 2  # uploads that are looked at (the probe child) at a time
_POLL = 1.0  # s; another process (the command line) may be the one that builds
# Where each stage ends, of the whole progress.
_DECODED, _ANALYSED, _PREPARED = 0.45, 0.85, 0.98
log = logging.getLogger(__name__)


class AvatarBuilder:
    """Takes orders and builds. Lives on one event loop; the work is done by children and two threads of its own.

    prepare: an engine's preparation; called in a thread with the avatar, opened from its temporary folder, it writes to
    `avatar.path / <engine>`. If its progress callback raises, the build was cancelled: let it through.
    ended: told of each build's end: ready, failed or cancelled, a failure's code, and the seconds that it took.
    """

    def __init__(
        self,
        store: AvatarStore,
        settings: BuildSettings,
        prepare: Prepare | None = None,
        *,
        ended: Callable[[str, str, float], None] = lambda outcome, code, seconds: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._prepare = prepare
        self._ended = ended
        self._threads = ThreadPoolExecutor(1 + settings.parallel, thread_name_prefix="avatar-builder")
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._jobs: dict[str, Job] = {}
        self._taking = 0  # orders that are looked at and not in the queue yet
        self._looks = asyncio.Semaphore(_LOOKS)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, set[asyncio.Event]] = {}
        self._closing = False

    @property
    def running(self) -> list[str]:
        """The avatars that are built now."""
        return list(self._running)

    @property
    def waiting(self) -> list[str]:
        """The avatars whose build has not begun, in their order."""
        return [avatar_id for avatar_id in self._jobs if avatar_id not in self._running]

    # -- life

    async def start(self) -> None:
        """Clean up after an earlier run, put its unfinished builds back into the queue, begin to build."""
        await self._blocking(self._store.clean)
        await self._begin(await self._blocking(lambda: list(jobs.recover(self._store))))

    async def start_alone(self) -> None:
        """Begin to build beside another process that may be using the same folder: nothing is cleaned or resumed."""
        await self._begin([])

    async def _begin(self, resumed: list[Job]) -> None:
        for job in resumed:
            self._jobs[job.id] = job
            self._queue.put_nowait(job)
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.parallel)]

    async def close(self) -> None:
        """Stop; what is unfinished goes on at the next start."""
        self._closing = True
        for task in (*self._workers, *self._running.values()):
            task.cancel()
        await asyncio.gather(*self._workers, *self._running.values(), return_exceptions=True)
        for avatar_id in list(self._changed):
            self._notify(avatar_id)
        for job in self._jobs.values():
            job.unlock()
            self._store.forget(job.id)
        self._threads.shutdown(wait=True, cancel_futures=True)

    # -- orders

    async def submit(self, request: BuildRequest) -> AvatarRecord:
        """Take an order: the video is taken in and looked at (about 0.3 s), then the build waits for its turn.

        Raises AvatarError, and nothing is kept: invalid_id, exists, busy, models_missing, no_segmentation, disk_full,
        no_such_file, too_large, empty, unreadable, unsupported, too_short, too_long.
        """
        if self._closing or len(self._jobs) + self._taking >= self._settings.max_queued:
            raise AvatarError("busy")
        self._taking += 1
        try:
            return await self._take(request)
        finally:
            self._taking -= 1

    async def _take(self, request: BuildRequest) -> AvatarRecord:
        settings = self._settings
        try:
            found = await self._blocking(lambda: models.find(settings.models))
        except models.ModelsMissing:
            raise AvatarError("models_missing") from None
        if request.apply_blur and found.segmentation is None:
            raise AvatarError("no_segmentation")
        accepting = asyncio.ensure_future(
            self._blocking(
                lambda: jobs.accept(
                    self._store, request, max_bytes=settings.max_bytes, min_free_bytes=settings.min_free_bytes
                )
            )
        )
        try:
            job = await asyncio.shield(accepting)
        except asyncio.CancelledError:
            accepting.add_done_callback(_discard_late)
            raise
        try:
            async with self._looks:
                facts = await self._child("decode_child", {"task": "probe"}, job, lambda _: None, settings.probe)
            now = datetime.now(UTC)
            record = AvatarRecord(
                id=job.id,
                tutor_id=request.tutor_id,
                apply_blur=request.apply_blur,
                consent=Consent(given=request.consent, at=(request.consent_at or now) if request.consent else None),
                source=SourceFacts.model_validate(facts["source"]),
                still=bool(facts["still"]),
                created_at=now,
            )
            await self._blocking(lambda: job.write_order(Order(request=request)))
            await self._blocking(lambda: write_record(job.folder, record))
        except BaseException:
            job.discard()
            raise
        self._jobs[job.id] = job
        self._store.update(record, persist=False)
        self._queue.put_nowait(job)
        return record

    async def delete(self, avatar_id: str) -> None:
        """Delete an avatar in any state; its build, if one is under way or waits here, is cancelled.

        Raises AvatarError: invalid_id, not_found, in_use.
        """
        job = self._jobs.get(avatar_id)
        if job is not None:
            del self._jobs[avatar_id]  # a worker that comes to it passes it over
            task = self._running.get(avatar_id)
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            self._store.forget(avatar_id)
            await self._blocking(job.discard)
        if job is None or self._store.folder(avatar_id).exists():
            await self._blocking(lambda: self._store.delete(avatar_id))
        self._notify(avatar_id)

    async def wait(self, avatar_id: str) -> AvatarRecord:
        """The record once it is ready or failed (or as it is, when the builder closes). Raises AvatarError."""
        record = self._store.get(avatar_id)
        async for record in self.events(avatar_id):  # noqa: B007 - the last one counts
            pass
        return record

    async def events(self, avatar_id: str) -> AsyncIterator[AvatarRecord]:
        """The record as it is, then after each change; ends at ready, failed, deleted, or when the builder closes.

        A slow reader misses steps in between, never the last one. Raises AvatarError("not_found").
        """
        last = record = self._store.get(avatar_id)
        changed = asyncio.Event()
        self._changed.setdefault(avatar_id, set()).add(changed)
        try:
            yield record
            while record.state == "preparing" and not self._closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _POLL)
                changed.clear()
                try:
                    record = self._store.get(avatar_id)
                except AvatarError:
                    return
                if record != last:
                    last = record
                    yield record
        finally:
            waiting = self._changed.get(avatar_id, set())
            waiting.discard(changed)
            if not waiting:
                self._changed.pop(avatar_id, None)

    # -- work

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            if self._jobs.get(job.id) is not job:  # deleted while it waited
                continue
            task = asyncio.create_task(self._attempt(job))
            self._running[job.id] = task
            try:
                await asyncio.wait([task])
            finally:
                if task.done():
                    self._running.pop(job.id, None)

    async def _attempt(self, job: Job) -> None:
        """Build one avatar; whatever happens ends in a state that is on disk."""
        order: Order | None = None
        began = time.monotonic()
        try:
            order = await self._blocking(job.order)
            if order is None:
                raise AvatarError("interrupted")
            order.attempts += 1
            await self._blocking(lambda: job.write_order(order))
            await self._build(job, order.request)
            self._ended("ready", "", time.monotonic() - began)
        except asyncio.CancelledError:
            if self._closing and order is not None:  # an orderly end is not the video's fault
                order.attempts -= 1
                with contextlib.suppress(AvatarError):
                    job.write_order(order)
            else:
                self._ended("cancelled", "", time.monotonic() - began)
            raise
        except AvatarError as error:
            log.info("avatar %s failed: %s", job.id, error.code)
            self._ended("failed", error.code, time.monotonic() - began)
            await self._fail(job, error)
        except Exception:  # the build's boundary: the builder goes on with the next
            log.exception("avatar %s failed", job.id)
            self._ended("failed", "internal", time.monotonic() - began)
            await self._fail(job, AvatarError("internal"))

    async def _build(self, job: Job, request: BuildRequest) -> None:
        settings = self._settings
        record = self._store.get(job.id)
        await self._blocking(lambda: _fresh(job.output))

        def tell(stage: str, progress: float, **more: Any) -> None:
            nonlocal record
            record = record.model_copy(update={"stage": stage, "progress": round(progress, 3), **more})
            self._store.update(record, persist=False)
            self._notify(job.id)

        tell("decoding", 0.01)
        made = await self._child(
            "decode_child",
            {
                "task": "decode",
                "output": str(job.output / MASTER),
                "apply_blur": request.apply_blur,
                "models": str(settings.models.resolve()),
            },
            job,
            lambda p: tell("decoding", p * _DECODED),
        )
        tell("finding_face", _DECODED, width=made["width"], height=made["height"], frames=made["frames"])
        seen = await self._child(
            "analyse_child",
            {
                "folder": str(job.output),
                **made,
                "still": record.still,
                "source": record.source.model_dump() if record.source else {},
                "max_seconds": settings.max_seconds,
                "models": str(settings.models.resolve()),
            },
            job,
            lambda p: tell("finding_face", _DECODED + p * (_ANALYSED - _DECODED)),
        )
        quality = QualityReport.model_validate(seen["quality"])
        tell("finding_face", _ANALYSED, quality=quality)
        for finding in quality.findings:
            if finding.severity == "error":
                raise AvatarError(finding.code, finding.message)
        if self._prepare is not None:
            tell("preparing_engine", _ANALYSED)
            await self._engine(job, record, lambda p: tell("preparing_engine", _ANALYSED + p * (_PREPARED - _ANALYSED)))
        tell("saving", _PREPARED)
        engines = tuple(sorted(p.name for p in job.output.iterdir() if p.is_dir()))
        done = record.model_copy(update={"state": "ready", "stage": "done", "progress": 1.0, "engines": engines})
        finishing = asyncio.ensure_future(self._blocking(lambda: self._finish(job, done)))
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            await asyncio.wait([finishing])  # it is too late to stop half-way
            raise
        self._jobs.pop(job.id, None)
        self._notify(job.id)
        log.info("avatar %s is ready: %d frames, %dx%d", job.id, done.frames, done.width, done.height)

    def _finish(self, job: Job, done: AvatarRecord) -> None:
        """The one step in which an avatar comes to be."""
        write_record(job.output, done)
        try:
            os.rename(job.output, self._store.folder(job.id))
        except OSError as error:
            raise disk_error(error) from error
        self._store.forget(job.id)
        job.discard()
        self._store.trim()

    async def _engine(self, job: Job, record: AvatarRecord, tell: Progress) -> None:
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def progress(value: float) -> None:
            if stop.is_set():
                raise AvatarError("cancelled")
            loop.call_soon_threadsafe(_unless(stop, tell), min(max(value, 0.0), 1.0))

        def work() -> None:
            assert self._prepare is not None
            avatar = open_folder(job.output, record)
            self._prepare(avatar, progress)

        working = asyncio.ensure_future(self._blocking(work))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([working])  # it ends at its next word on its progress
            raise
        except AvatarError:
            raise
        except OSError as error:
            log.exception("preparing the engine for %s failed", job.id)
            problem = disk_error(error)
            raise problem if problem.code == "disk_full" else AvatarError("engine_failed") from error
        except Exception as error:
            log.exception("preparing the engine for %s failed", job.id)
            raise AvatarError("engine_failed") from error
        finally:
            stop.set()

    async def _fail(self, job: Job, error: AvatarError) -> None:
        problem = Problem(code=error.code, message=str(error))
        try:
            record = self._store.get(job.id)
        except AvatarError:
            log.exception("the record of %s is lost", job.id)
            return
        failed = record.model_copy(update={"state": "failed", "stage": "failed", "error": problem})
        try:
            await self._blocking(lambda: job.give_up(failed))
            self._store.forget(job.id)
        except AvatarError:
            log.exception("that %s failed cannot be written down", job.id)
            self._store.update(failed, persist=False)
        job.unlock()
        self._jobs.pop(job.id, None)
        self._notify(job.id)

    async def _child(
        self, name: str, task: dict[str, Any], job: Job, tell: Progress, limits: Limits | None = None
    ) -> dict[str, Any]:
        spec = {"source": str(job.source), "bounds": asdict(self._settings.bounds()), **task}
        return await run_child(name, spec, limits or self._settings.limits(), tell, about=job.id)

    def _notify(self, avatar_id: str) -> None:
        for changed in self._changed.get(avatar_id, ()):
            changed.set()

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _fresh(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(error) from error


def _unless(stop: threading.Event, tell: Progress) -> Progress:
    return lambda value: None if stop.is_set() else tell(value)


def _discard_late(accepting: asyncio.Future[Job]) -> None:
    """A caller went away while its video was taken in."""
    if not accepting.cancelled() and accepting.exception() is None:
        accepting.result().discard()
