"""Sessions and what was said in them, in the database: written by the journal, read in pages, forgotten on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from server.records.database import Database
from server.records.entries import Ended, Entry, Facts, Said
from server.records.errors import RecordsUnavailable
from server.records.tables import SESSIONS, TURNS

log = structlog.get_logger(__name__)

_CHUNK = 1000  # rows that one transaction deletes: others have their turn in between
_IDS = 500  # in one statement
_WIPE_MS = 250  # that SQLite waits for readers of what is to be wiped; meanwhile nobody writes

_FORGETTING = 0x6C656374  # PostgreSQL's advisory lock: who forgets holds it alone, those who write share it


@dataclass(frozen=True, slots=True)
class Past:
    """A session that runs (ended_at None) or has run. quality: counts, running means in ms; None: it never ran."""

    id: str
    student_id: str | None
    tutor_id: str | None
    avatar_id: str
    kb_id: str | None
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    end_reason: str | None
    turns: int
    quality: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said. at: when it began."""

    session_id: str
    tutor_id: str | None
    who: str
    text: str
    interrupted: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions; None: any. since, until: of their start, until itself excluded."""

    session_id: str | None = None
    student_id: str | None = None
    tutor_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was deleted of a student: turns, and sessions that name nobody any more."""

    turns: int
    sessions: int


class SessionRecords:
    """Every method raises RecordsUnavailable where the database does not answer."""

    def __init__(self, database: Database, server: str) -> None:
        """server: this one's name, which tells its sessions from those of others on the same database."""
        self._database = database
        self._server = server
        self.unwiped = database.address.kind == "sqlite"  # deleted words may stand in the log still; after a kill, too

    # -- writing ------------------------------------------------------------------------------------------------

    async def write(self, entries: Sequence[Entry]) -> None:
        """All of them or none; but no word of a session whose student was deleted meanwhile."""
        sessions = {entry.facts.id: self._row(entry.facts) for entry in entries}
        said = [entry for entry in entries if isinstance(entry, Said)]
        async with self._database.writing() as connection:
            await self._lock(connection, alone=False)
            await self._add_missing(connection, list(sessions.values()))
            nameless = await _nameless(connection, {entry.facts.id for entry in said})
            turns = [_turn(entry) for entry in said if entry.facts.id not in nameless]
            if turns:
                await connection.execute(insert(TURNS), turns)
            for entry in entries:
                if isinstance(entry, Ended):
                    await connection.execute(_end(entry))

    async def _lock(self, connection: AsyncConnection, *, alone: bool) -> None:
        """Until the transaction ends, nobody forgets while others write. On SQLite there is one writer anyway."""
        if self._database.address.kind == "postgresql":
            lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
            await connection.execute(select(lock(_FORGETTING)))

    async def _add_missing(self, connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
        """A session is written with the first that is told of it, whatever was lost before."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        await connection.execute(dialect.insert(SESSIONS).on_conflict_do_nothing(), rows)

    def _row(self, facts: Facts) -> dict[str, Any]:
        return {**asdict(facts), "server": self._server, "seen_at": facts.started_at}

    async def seen(self, session_ids: Iterable[str], now: datetime) -> None:
        """These still run."""
        ids = sorted(session_ids)
        async with self._database.writing() as connection:
            for start in range(0, len(ids), _IDS):
                some = SESSIONS.c.id.in_(ids[start : start + _IDS])
                await connection.execute(
                    update(SESSIONS).where(some, SESSIONS.c.ended_at.is_(None)).values(seen_at=now)
                )

    async def nameless(self, session_ids: Iterable[str]) -> set[str]:
        """Those whose student was deleted, perhaps by another server."""
        async with self._database.reading() as connection:
            return await _nameless(connection, session_ids)

    async def close_stopped(self, *, unseen_since: datetime, own: bool = False) -> int:
        """End the sessions whose server has stopped without a word; gives how many. own: this server's, too: it has
        just started, so they cannot run.
        """
        stopped: ColumnElement[bool] = SESSIONS.c.seen_at < unseen_since
        if own:
            stopped |= SESSIONS.c.server == self._server
        open_ = select(SESSIONS.c.id, SESSIONS.c.started_at, SESSIONS.c.seen_at).where(
            SESSIONS.c.ended_at.is_(None), stopped
        )
        async with self._database.writing() as connection:
            rows = list(await connection.execute(open_))
            for row in rows:
                last = await connection.scalar(select(func.max(TURNS.c.at)).where(TURNS.c.session_id == row.id))
                ended = max(row.seen_at, last or row.seen_at)
                await connection.execute(
                    update(SESSIONS)
                    .where(SESSIONS.c.id == row.id)
                    .values(
                        ended_at=ended,
                        seconds=_seconds(row.started_at, ended),
                        end_reason="server_stopped",
                    )
                )
        return len(rows)

    # -- reading ------------------------------------------------------------------------------------------------

    async def page(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[int, list[Past]]:
        """How many there are, and some of them, the newest first."""
        where = _conditions(wanted)
        turns = select(func.count()).where(TURNS.c.session_id == SESSIONS.c.id).scalar_subquery().label("turns")
        columns = [SESSIONS.c[name] for name in Past.__slots__ if name != "turns"]
        query = select(*columns, turns).where(*where).order_by(SESSIONS.c.started_at.desc(), SESSIONS.c.id)
        count = select(func.count()).select_from(SESSIONS).where(*where)
        total, rows = await self._page(count, query, limit, offset)
        return total, [Past(**row._mapping) for row in rows]

    async def turns(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[int, list[Turn]]:
        """How many were said, and some of them, the oldest first."""
        joined = TURNS.join(SESSIONS, SESSIONS.c.id == TURNS.c.session_id)
        where = _conditions(wanted)
        query = (
            select(*(SESSIONS.c[name] if name == "tutor_id" else TURNS.c[name] for name in Turn.__slots__))
            .select_from(joined)
            .where(*where)
            .order_by(TURNS.c.at, TURNS.c.id)
        )
        total, rows = await self._page(select(func.count()).select_from(joined).where(*where), query, limit, offset)
        return total, [Turn(**row._mapping) for row in rows]

    async def _page(
        self, count: Select[Any], query: Select[Any], limit: int, offset: int
    ) -> tuple[int, Sequence[Row[Any]]]:
        async with self._database.reading() as connection:
            total = await connection.scalar(count)
            return total or 0, (await connection.execute(query.limit(limit).offset(offset))).all()

    # -- forgetting ---------------------------------------------------------------------------------------------

    async def forget(self, student_id: str) -> Forgotten:
        """Delete every word of a student's sessions, and who the student was. Their figures stay."""
        own = select(SESSIONS.c.id).where(SESSIONS.c.student_id == student_id)
        async with self._database.writing() as connection:
            await self._lock(connection, alone=True)
            gone = await connection.execute(delete(TURNS).where(TURNS.c.session_id.in_(own)))
            nameless = await connection.execute(
                update(SESSIONS).where(SESSIONS.c.student_id == student_id).values(student_id=None)
            )
        await self.wipe()
        return Forgotten(gone.rowcount, nameless.rowcount)

    async def purge(self, before: datetime | None) -> int:
        """Delete what was said before then (None: ever); gives how many turns."""
        some = select(TURNS.c.id).limit(_CHUNK)
        if before is not None:
            some = some.where(TURNS.c.at < before)
        total = 0
        while True:
            async with self._database.writing() as connection:
                gone = (await connection.execute(delete(TURNS).where(TURNS.c.id.in_(some)))).rowcount
            total += gone
            if gone < _CHUNK:
                break
        if total:
            await self.wipe()
        return total

    async def wipe(self) -> None:
        """SQLite's log holds what was deleted until it is written back, which a reader of the file (a backup) hinders:
        then `unwiped` says that this is to be called again.
        """
        if self._database.address.kind != "sqlite":
            return
        self.unwiped = True
        try:
            async with self._database.outside() as connection:
                await connection.execute(text(f"PRAGMA busy_timeout={_WIPE_MS}"))  # transactions set their own
                busy = (await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))).one()[0]
        except RecordsUnavailable as error:  # what was to be deleted is deleted already
            log.warning("deleted_words_in_log", why=str(error))
            return
        if busy:
            log.warning("deleted_words_in_log", why="another program reads the database; the server tries again")
        self.unwiped = bool(busy)


async def _nameless(connection: AsyncConnection, session_ids: Iterable[str]) -> set[str]:
    ids, found = sorted(session_ids), set[str]()
    for start in range(0, len(ids), _IDS):
        some = SESSIONS.c.id.in_(ids[start : start + _IDS])
        found.update(await connection.scalars(select(SESSIONS.c.id).where(some, SESSIONS.c.student_id.is_(None))))
    return found


def _turn(said: Said) -> dict[str, Any]:
    return {
        "session_id": said.facts.id,
        "who": said.who,
        "text": said.text,
        "interrupted": said.interrupted,
        "at": said.at,
    }


def _end(ended: Ended) -> Any:
    return (
        update(SESSIONS)
        .where(SESSIONS.c.id == ended.facts.id)
        .values(
            ended_at=ended.at,
            seen_at=ended.at,
            seconds=_seconds(ended.facts.started_at, ended.at),
            end_reason=ended.reason[:60],
            quality=ended.quality,
        )
    )


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, value in (
        (SESSIONS.c.id, wanted.session_id),
        (SESSIONS.c.student_id, wanted.student_id),
        (SESSIONS.c.tutor_id, wanted.tutor_id),
    ):
        if value is not None:
            found.append(column == value)
    if wanted.since is not None:
        found.append(SESSIONS.c.started_at >= wanted.since)
    if wanted.until is not None:
        found.append(SESSIONS.c.started_at < wanted.until)
    return found


def _seconds(start: datetime, end: datetime) -> float:
    return round(max(0.0, (end - start).total_seconds()), 3)
