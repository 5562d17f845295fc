"""The database: opened and brought up to date at start, then transactions that end within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import structlog
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from server.records import migrate
from server.records.address import Address
from server.records.errors import RecordsUnavailable, reason
from server.records.patience import left, waiting

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
TRANSACTION_SECONDS = 10.0
_POOL = 4  # connections; a request needs one for some milliseconds
_BUSY_SECONDS = 5.0  # how long SQLite waits for another writer, at most
_GIVE_UP_SECONDS = 0.2  # before the time is over SQLite says that it is locked; PostgreSQL is said goodbye for so long

_PRAGMAS = (
    "journal_mode=WAL",  # readers and the writer do not wait for each other
    "synchronous=FULL",  # what is committed survives a power cut, too
    "foreign_keys=ON",
    "secure_delete=ON",  # what is deleted is overwritten
)

_AWAY = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    TimeoutError,
    OSError,
    asyncpg.PostgresError,  # while it connects; later ones come wrapped
    asyncpg.InterfaceError,
)


class Database:
    """Owns the connections. `open` before anything else; `reading` and `writing` give a transaction each."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._engine = engine_of(address)
        self._file: tuple[int, int] | None = None  # the SQLite file that was opened
        self._writer = self._engine.execution_options(lectern_writes=True)

    async def open(self) -> None:
        """Bring the schema up to date. Raises SettingsError where the database cannot be used."""
        made = await asyncio.to_thread(migrate.upgrade, self.address)
        self._file = await asyncio.to_thread(self._look)
        log.info("records_open", database=self.address.shown, migrated_from=made.before, version=made.now)

    async def close(self) -> None:
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raises RecordsUnavailable, also where what is written goes into a file that has no name any more."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))
        if self._file is not None and await asyncio.to_thread(self._look) != self._file:
            raise RecordsUnavailable(f"{self.address.shown} was removed or replaced while it is in use: restart")

    def _look(self) -> tuple[int, int] | None:
        """What tells the database's file from another one. Blocking."""
        try:
            found = None if self.address.file is None else self.address.file.stat()
        except OSError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. Raises RecordsUnavailable."""
        async with self._transaction(self._engine) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; committed when the block has ended without an exception. Raises RecordsUnavailable."""
        async with self._transaction(self._writer) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def outside(self) -> AsyncIterator[AsyncConnection]:
        """No transaction, for what SQLite does outside of one only. Raises RecordsUnavailable."""
        autocommit = self._engine.execution_options(lectern_outside=True)
        async with self._transaction(autocommit) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with waiting(TRANSACTION_SECONDS), engine.begin() as connection:
                yield connection
        except _AWAY as error:
            raise RecordsUnavailable(self.address.hide(reason(error))) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise RecordsUnavailable(self.address.hide(reason(error))) from error
            raise


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """SQLAlchemy would wait two seconds for the goodbye of a server that says nothing any more."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's own
        await super().close(timeout=_GIVE_UP_SECONDS if timeout is not None else CONNECT_SECONDS)


def engine_of(address: Address) -> AsyncEngine:
    """Connects to nothing yet."""
    if address.kind == "postgresql":

        async def connect() -> Any:
            return await asyncpg.connect(
                address.dsn,
                timeout=CONNECT_SECONDS,
                command_timeout=TRANSACTION_SECONDS,
                connection_class=_Connection,
            )

        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=_POOL,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(address.file)),
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions when it pleases; see _on_begin
    cursor = connection.cursor()
    try:
        for pragma in (_busy_timeout(), *_PRAGMAS):
            cursor.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()  # nobody else would: it is not the pool's yet
        raise
    cursor.close()


def _on_begin(connection: Any) -> None:
    """A writer takes its lock at once: one that begins by reading could not wait for another writer any more."""
    options = connection.get_execution_options()
    if not options.get("lectern_outside"):
        connection.exec_driver_sql(f"PRAGMA {_busy_timeout()}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("lectern_writes") else "BEGIN")


def _busy_timeout() -> str:
    """SQLite waits on a thread that nothing can call back: no longer than the transaction has time."""
    return f"busy_timeout={max(1, round((left(_BUSY_SECONDS) - _GIVE_UP_SECONDS) * 1000))}"
