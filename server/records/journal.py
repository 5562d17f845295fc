"""Watches sessions and writes down what becomes of them, without ever holding one up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pipeline.events import Event, SpeechEnded, SpeechStarted, Transcription
from server.records.entries import Ended, Entry, Facts, Said, Started, Who, add_figures, clean
from server.records.errors import RecordsUnavailable, reason
from server.records.sessions import SessionRecords
from server.session import Session, Typed

if TYPE_CHECKING:
    from pipeline.stats import SessionStats
    from server.admission import Refusal

log = structlog.get_logger(__name__)

MOST_WAITING = 4000  # entries; more come only while the database is away
SPARE = 1000  # room beyond that for beginnings and ends, which matter more than words
BATCH = 500
GATHER_SECONDS = 0.2  # what happens within this is written in one transaction
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
CLOSE_SECONDS = 5.0
TELL_SECONDS = 10.0  # between two lines of the log about what is lost


class Journal:
    """Implements server.sessions.Observer: a bounded queue, and one task that writes it to the database.

    keep_words: False where transcripts are not kept at all.
    """

    def __init__(self, records: SessionRecords, *, keep_words: bool) -> None:
        self._records = records
        self._keep_words = keep_words
        self._waiting: deque[Entry] = deque()
        self._given = 0  # entries that were taken in, ever
        self._done = 0  # of those, written or given up
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._running: dict[str, Facts] = {}
        self._figures: dict[str, dict[str, Any]] = {}
        self._told = 0.0
        self.written = 0
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Entries that are not in the database yet."""
        return self._given - self._done

    @property
    def running(self) -> list[str]:
        """Ids of the sessions that have not ended."""
        return list(self._running)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._write_forever(), name="journal")

    async def close(self) -> None:
        """Write what waits, within a time limit."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
        except TimeoutError:
            log.error("journal_closed_unwritten", lost=self.waiting)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def flush(self) -> None:
        """Returns when all that was told before is written. Bound it in time: it waits for a database that is away."""
        until = self._given
        self._hurry.set()
        try:
            while self._done < until:
                self._moved.clear()
                await self._moved.wait()
        finally:
            self._hurry.clear()

    # -- what happens (Observer) --------------------------------------------------------------------------------

    def created(self, session: Session) -> None:
        facts = Facts(
            id=session.id,
            student_id=clean(session.student_id),
            tutor_id=None if session.tutor_id is None else clean(session.tutor_id),
            avatar_id=session.avatar_id,
            kb_id=None if session.kb_id is None else clean(session.kb_id),
            started_at=datetime.fromtimestamp(session.created_at, UTC),
        )
        self._running[facts.id] = facts
        self._put(Started(facts))
        if self._keep_words:
            session.observers.append(partial(self._event, facts, {}))

    def refused(self, refusal: Refusal) -> None:
        pass

    def gone(self, session: Session, reason: str, stats: SessionStats | None) -> None:
        """It fell asleep, or ended. Its last words may come after this."""
        if stats is not None:
            self._figures[session.id] = add_figures(self._figures.get(session.id), stats)
        if session.ended:
            quality = self._figures.pop(session.id, None)
            facts = self._running.pop(session.id, None)
            if facts is not None:
                self._put(Ended(facts, _now(), reason, quality))

    def _event(self, facts: Facts, begun: dict[str, datetime], event: Event) -> None:
        """begun: when the utterances that are being said began."""
        match event:
            case Typed(text=text):
                self._say(facts, "student", text, _now())
            case Transcription(text=text, final=True):
                self._say(facts, "student", text, _now())
            case SpeechStarted(utterance_id=utterance):
                begun[utterance] = _now()
            case SpeechEnded(utterance_id=utterance, heard=heard):
                at = begun.pop(utterance, None) or _now()
                self._say(facts, "tutor", heard, at, interrupted=event.reason != "finished")

    def _say(self, facts: Facts, who: Who, text: str, at: datetime, *, interrupted: bool = False) -> None:
        text = clean(text).strip()
        if text:
            self._put(Said(facts, who, text, interrupted, at))

    def _put(self, entry: Entry) -> None:
        room = MOST_WAITING if isinstance(entry, Said) else MOST_WAITING + SPARE
        if len(self._waiting) >= room:
            self._lose(1, "the database is away, or too slow")
            return
        self._waiting.append(entry)
        self._given += 1
        self._wake.set()

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            log.error("journal_entries_lost", lost=self.lost, why=why)

    # -- writing ------------------------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._hurry.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            await self._write(batch)

    async def _write(self, batch: list[Entry]) -> None:
        """Until it is written: what the database refuses for what it says is taken one by one, and given up alone."""
        for attempt in range(1_000_000):
            try:
                await self._records.write(batch)
            except RecordsUnavailable as error:
                delay = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                log.warning("journal_waits", waiting=self.waiting, seconds=delay, why=str(error))
                await asyncio.sleep(delay)
                continue
            except SQLAlchemyError as error:
                if len(batch) > 1:
                    for entry in batch:
                        await self._write([entry])
                    return
                log.error("journal_entry_refused", session=batch[0].facts.id, why=reason(error))
                self._lose(1, "the database refused it")
            else:
                self.written += len(batch)
            self._done += len(batch)
            self._moved.set()
            return


def _now() -> datetime:
    return datetime.now(UTC)
