"""Keeps the records in order: says that sessions run, ends those whose server stopped or whose student was deleted,
deletes what is too old.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from server.records.errors import RecordsUnavailable
from server.records.journal import Journal
from server.records.sessions import SessionRecords

log = structlog.get_logger(__name__)

BEAT_SECONDS = 60.0
UNSEEN_SECONDS = 300.0  # a session that its server has not named for so long has ended with it
PURGE_SECONDS = 3600.0


class Keeper:
    """One task. retention_days: 0 deletes all transcripts."""

    def __init__(self, records: SessionRecords, journal: Journal, retention_days: int) -> None:
        self._records = records
        self._journal = journal
        self._retention_days = retention_days
        self.end_session: Callable[[str, str], Awaitable[None]] = _nothing
        """Ends a session of this server, by its id, for a reason; the composition root gives it."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ends what this server left open when it last stopped. Raises RecordsUnavailable."""
        stopped = await self._records.close_stopped(unseen_since=_ago(UNSEEN_SECONDS), own=True)
        if stopped:
            log.warning("sessions_ended_by_stop", sessions=stopped)
        self._task = asyncio.create_task(self._run(), name="records-keeper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def purge(self) -> int:
        """Delete the transcripts that are older than is kept; gives how many turns."""
        before = None if self._retention_days == 0 else _ago(self._retention_days * 86_400.0)
        gone = await self._records.purge(before)
        if gone:
            log.info("transcripts_purged", turns=gone, retention_days=self._retention_days)
        return gone

    async def beat(self) -> None:
        for session_id in await self._records.nameless(self._journal.running):
            log.warning("session_of_deleted_student", session=session_id)
            await self.end_session(session_id, "student_deleted")
        await self.wipe()
        await self._records.seen(self._journal.running, datetime.now(UTC))
        await self._records.close_stopped(unseen_since=_ago(UNSEEN_SECONDS))

    async def wipe(self) -> None:
        """What could not be wiped when it was deleted."""
        if self._records.unwiped:
            await self._records.wipe()

    async def _run(self) -> None:
        purged = float("-inf")
        while True:
            try:
                await self.wipe()
                if time.monotonic() - purged >= PURGE_SECONDS:
                    await self.purge()
                    purged = time.monotonic()
                await asyncio.sleep(BEAT_SECONDS)
                await self.beat()
            except RecordsUnavailable as error:
                log.warning("records_unavailable", why=str(error))
                await asyncio.sleep(BEAT_SECONDS)
            except Exception:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # lost on its way through the driver
                    return
                log.exception("records_keeper_failed")
                await asyncio.sleep(BEAT_SECONDS)


async def _nothing(session_id: str, reason: str) -> None:
    pass


def _ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
