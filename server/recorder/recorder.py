"""Records sessions: begins and ends films, keeps the list of them, and sees that they fill no disk and do not stay."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.events import RecordingStarted, RecordingStopped
from pipeline.outputs.film import FORMATS, FilmFile
from pipeline.outputs.tap import Tap
from pipeline.outputs.writer import Writer
from pipeline.session import SessionClosed
from server.bodies import disk_full
from server.problems import ProblemError
from server.recorder.limits import Limits
from server.recorder.mending import mend
from server.recorder.record import Reason, Record
from server.recorder.shelf import Shelf
from server.session import Session
from server.sessions import Open

if TYPE_CHECKING:
    from pipeline.session import LiveSession
    from pipeline.stats import SessionStats
    from server.admission import Refusal

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
SWEEP_SECONDS = 3600.0
CLOSE_SECONDS = 10.0  # for what waits and a film's end to be written

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True, eq=False)
class _Shoot:
    """A recording that runs, or is just being ended (`finishing`)."""

    record: Record
    session: Session
    handle: int
    film: FilmFile
    writer: Writer
    tap: Tap
    pulling: asyncio.Task[None] | None = None
    finishing: asyncio.Task[Record] | None = None


@dataclass(slots=True, eq=False)
class _Beginning:
    """A recording whose film is just being made. over: set when it runs, or failed to."""

    student_id: str
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Recorder:
    """Implements server.sessions.Observer, and follows their opening. On the event loop; what
    touches the disk is done on other threads.

    enabled: whether recordings may be begun; those that are there are shown in any case. codec: of sessions' pictures.
    """

    def __init__(self, shelf: Shelf, limits: Limits, *, enabled: bool, codec: str) -> None:
        self.shelf = shelf
        self._limits = limits
        self._enabled = enabled
        self._codec = codec
        self._records: dict[str, Record] = {}  # the oldest first
        self._shoots: dict[str, _Shoot] = {}  # by session
        self._beginning: dict[str, _Beginning] = {}  # by session
        self._ending: set[_Shoot] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.ended: Counter[Reason] = Counter()

    async def start(self) -> None:
        self._records = {record.id: record for record in await asyncio.to_thread(self.shelf.load)}
        self._watch = asyncio.create_task(self._look_after(), name="recorder")

    async def close(self) -> None:
        """End what runs, and wait until all of it is written."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for shoot in tuple(self._shoots.values()):
            self._finish(shoot, "session_ended")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS + 5)

    # -- what is there ------------------------------------------------------------------------------------------

    def find(self, recording_id: str) -> Record:
        """404 recording_not_found."""
        record = self._records.get(recording_id)
        if record is None:
            raise ProblemError(404, "recording_not_found", "There is no such recording; it may have been deleted.")
        return record

    def all(
        self, *, session_id: str | None = None, student_id: str | None = None, tutor_id: str | None = None
    ) -> list[Record]:
        """The newest first; those of a session, student, tutor."""
        return [
            record
            for record in reversed(self._records.values())
            if session_id in (None, record.session_id)
            and student_id in (None, record.student_id)
            and tutor_id in (None, record.tutor_id)
        ]

    @property
    def running(self) -> int:
        return len(self._shoots)

    @property
    def bytes(self) -> int:
        """What all of them take."""
        return sum(record.bytes for record in self._records.values())

    # -- begin and end ------------------------------------------------------------------------------------------

    async def begin(self, session: Session) -> Record:
        """Record a session from now on; while it sleeps, from its waking on. 404 session_not_found: it ended meanwhile;
        409 already_recording, 503 recording_off, 507 disk_full, recordings_full.
        """
        if not self._enabled:
            raise ProblemError(503, "recording_off", "Recording is off on this server (recording.enabled).")
        if session.id in self._shoots or session.id in self._beginning:
            raise ProblemError(409, "already_recording", "This session is being recorded already.")
        beginning = self._beginning[session.id] = _Beginning(session.student_id)
        try:
            record, handle = await self._place(session)
            if session.ended:  # meanwhile: perhaps its student was deleted
                await asyncio.to_thread(self._discard, record, handle)
                raise ProblemError(404, "session_not_found", "This session has ended; start a new one.")
            film = FilmFile(self.shelf.film(record), self._codec)
            writer = Writer(film, f"record-{record.id[:8]}", lambda error: self._failed(session.id, record.id))
            shoot = _Shoot(record, session, handle, film, writer, Tap(writer))
            self._shoots[session.id] = shoot
            self._records[record.id] = record
        finally:
            del self._beginning[session.id]
            beginning.over.set()
        session.recording_id = record.id
        log.info("recording_started", session=session.id, recording=record.id)
        session.emit(RecordingStarted(record.id))
        if session.live is not None:
            self._pull(shoot, session.live)
        return record

    async def stop(self, session: Session) -> Record:
        """The record once the film is whole. 409 not_recording."""
        shoot = self._shoots.get(session.id)
        if shoot is None:
            raise ProblemError(409, "not_recording", "This session is not being recorded.")
        return await asyncio.shield(self._finish(shoot, "stopped"))

    async def delete(self, recording_id: str) -> None:
        """404 recording_not_found, 409 recording_running."""
        record = self.find(recording_id)
        if record.state == "recording":
            raise ProblemError(
                409,
                "recording_running",
                f"It is still being recorded; stop it first: DELETE /v1/sessions/{record.session_id}/recording.",
            )
        await self._remove(record)

    async def delete_of_student(self, student_id: str) -> int:
        """Delete every recording of a student, those included that run, begin or end just now; gives how many. Raises
        OSError.
        """
        beginning = [each.over.wait() for each in self._beginning.values() if each.student_id == student_id]
        await asyncio.gather(*beginning)
        running = [shoot for shoot in (*self._shoots.values(), *self._ending) if shoot.record.student_id == student_id]
        await asyncio.gather(*(asyncio.shield(self._finish(shoot, "stopped")) for shoot in running))
        found = self.all(student_id=student_id)
        for record in found:
            await self._remove(record)
        return len(found)

    # -- sessions -----------------------------------------------------------------------------------------------

    def following(self, opening: Open) -> Open:
        """The same, but each live part that it opens (the session began, or woke) goes on with its recording."""

        async def opened(session: Session) -> LiveSession:
            live = await opening(session)
            shoot = self._shoots.get(session.id)
            if shoot is not None:
                self._pull(shoot, live)
            return live

        return opened

    def created(self, session: Session) -> None:
        """Observer."""

    def refused(self, refusal: Refusal) -> None:
        """Observer."""

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """Observer. What merely fell asleep is gone on with when it wakes."""
        shoot = self._shoots.get(session.id)
        if shoot is not None and session.ended:
            self._finish(shoot, "session_ended")

    # -- inside -------------------------------------------------------------------------------------------------

    async def _place(self, session: Session) -> tuple[Record, int]:
        """A new record, and the handle of its film."""
        free = await asyncio.to_thread(self.shelf.free)
        match self._limits.over(seconds=0, total=self.bytes, free=free):
            case "disk_full":
                raise disk_full()
            case "no_room":
                raise ProblemError(
                    507,
                    "recordings_full",
                    "The recordings take all the room there is for them; delete some, or raise recording.max_gb.",
                )
        record = Record(
            id=secrets.token_hex(16),
            session_id=session.id,
            student_id=session.student_id,
            tutor_id=session.tutor_id,
            avatar_id=session.avatar_id,
            format="webm" if FORMATS[self._codec] == "webm" else "mp4",
            started_at=datetime.now(UTC),
        )
        try:
            return record, await asyncio.to_thread(self.shelf.begin, record)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise disk_full() from error
            log.error("recording_cannot_begin", error=str(error))
            raise ProblemError(
                503, "recording_unavailable", "The server cannot write to its folder of recordings (recording.dir)."
            ) from error

    def _pull(self, shoot: _Shoot, live: LiveSession) -> None:
        before = shoot.pulling

        async def pull() -> None:
            if before is not None:  # of the live part before this one
                await asyncio.wait({before})
            try:
                await shoot.tap.run(live)
            except SessionClosed:
                log.debug("recording_came_too_late", session=shoot.session.id)

        shoot.pulling = self._keep(pull(), "recording-pull")

    def _failed(self, session_id: str, recording_id: str) -> None:
        shoot = self._shoots.get(session_id)
        if shoot is not None and shoot.record.id == recording_id:
            self._finish(shoot, "failed")

    def _finish(self, shoot: _Shoot, reason: Reason) -> asyncio.Task[Record]:
        """Have it ended; again: the same task."""
        if shoot.finishing is None:
            self._shoots.pop(shoot.session.id, None)
            shoot.session.recording_id = None
            self._ending.add(shoot)
            shoot.finishing = self._keep(self._end(shoot, reason), "recording-end")
            shoot.finishing.add_done_callback(lambda task: self._ending.discard(shoot))
        return shoot.finishing

    async def _end(self, shoot: _Shoot, reason: Reason) -> Record:
        if shoot.pulling is not None:
            shoot.pulling.cancel()
            await asyncio.wait({shoot.pulling})
        written = await shoot.writer.close(CLOSE_SECONDS)
        failure = shoot.writer.failure
        if failure is not None:
            reason = "disk_full" if getattr(failure, "errno", None) in _DISK_FULL else "failed"
            log.error("recording_failed", session=shoot.session.id, recording=shoot.record.id, exc_info=failure)
        elif not written:
            reason = "failed"
            log.error("recording_close_late", session=shoot.session.id, recording=shoot.record.id)
        broken = failure is not None or not written
        record = shoot.record.model_copy(
            update={
                "ended_at": datetime.now(UTC),
                "seconds": round(shoot.film.seconds, 3),
                "state": "cut_off" if broken else "complete",
                "reason": reason,
                "lost": shoot.tap.lost,
            }
        )
        if record.id in self._records:
            record = await asyncio.to_thread(self._save, record, mended=failure is not None)
        if written:
            os.close(shoot.handle)
        if record.id in self._records:
            self._records[record.id] = record
        else:  # deleted, perhaps while it was saved
            await asyncio.to_thread(self.shelf.delete, record)
        self.ended[reason] += 1
        log.info("recording_stopped", session=shoot.session.id, recording=record.id, reason=reason)
        shoot.session.emit(RecordingStopped(record.id, reason))
        return record

    def _save(self, record: Record, *, mended: bool) -> Record:
        """With the film's size. A record that cannot be written says "recording" on disk, and is settled later."""
        try:
            if mended:
                record = record.model_copy(update={"seconds": mend(self.shelf.film(record))})
            record = record.model_copy(update={"bytes": self.shelf.size(record)})
            self.shelf.save(record)
        except OSError as error:
            log.error("recording_record_unwritten", recording=record.id, error=str(error))
        return record

    def _discard(self, record: Record, handle: int) -> None:
        os.close(handle)
        self.shelf.delete(record)

    async def _remove(self, record: Record) -> None:
        await asyncio.to_thread(self.shelf.delete, record)
        self._records.pop(record.id, None)
        log.info("recording_deleted", recording=record.id)

    def _keep(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("recorder_task_failed", task=task.get_name(), exc_info=task.exception())

    # -- watching -----------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        swept = float("-inf")
        while True:
            try:
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    swept = time.monotonic()
                    await self.sweep(datetime.now(UTC))
                await self._look()
            except Exception:
                log.exception("recorder_watch_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def sweep(self, now: datetime) -> None:
        """Settle what other processes left, and delete what is too old."""
        own = {shoot.record.id for shoot in self._shoots.values()}
        for record in self.all():
            if record.state == "recording" and record.id not in own:
                settled = await asyncio.to_thread(self.shelf.settle, record)
                if record.id not in self._records:  # deleted while its record was written anew
                    await asyncio.to_thread(self.shelf.delete, record)
                elif self._records[record.id].state == "recording":
                    self._records[record.id] = settled
        for record in self._limits.too_old(self.all(), now):
            await self._remove(record)

    async def _look(self) -> None:
        """Bring the figures of what runs up to date, and end what has to be."""
        shoots = list(self._shoots.values())
        if not shoots:
            return
        records = [shoot.record for shoot in shoots]
        free, sizes = await asyncio.to_thread(lambda: (self.shelf.free(), [self.shelf.size(each) for each in records]))
        for shoot, size in zip(shoots, sizes, strict=True):
            if shoot.finishing is None:
                figures = {"seconds": round(shoot.film.seconds, 3), "bytes": size, "lost": shoot.tap.lost}
                shoot.record = shoot.record.model_copy(update=figures)
                self._records[shoot.record.id] = shoot.record
        for shoot in shoots:
            reason = self._limits.over(seconds=shoot.record.seconds, total=self.bytes, free=free)
            if reason is not None and shoot.finishing is None:
                log.warning("recording_has_to_stop", session=shoot.session.id, reason=reason, free_mb=free >> 20)
                self._finish(shoot, reason)
