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

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
TRANSACTION_SECONDS = 10.0
_POOL = 4  # connections; a request needs one for some milliseconds
_BUSY_MS = 5000  # how long SQLite waits for another writer

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
        self._writer = self._engine.execution_options(lectern_writes=True)

    async def open(self) -> None:
        """Bring the schema up to date. Raises SettingsError where the database cannot be used."""
        made = await asyncio.to_thread(migrate.upgrade, self.address)
        log.info("records_open", database=self.address.shown, migrated_from=made.before, version=made.now)

    async def close(self) -> None:
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raises RecordsUnavailable."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

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
            async with asyncio.timeout(TRANSACTION_SECONDS), engine.begin() as connection:
                yield connection
        except _AWAY as error:
            raise RecordsUnavailable(self.address.hide(reason(error))) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise RecordsUnavailable(self.address.hide(reason(error))) from error
            raise


def engine_of(address: Address) -> AsyncEngine:
    """Connects to nothing yet."""
    if address.kind == "postgresql":

        async def connect() -> Any:
            return await asyncpg.connect(address.dsn, timeout=CONNECT_SECONDS, command_timeout=TRANSACTION_SECONDS)

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
        for pragma in (f"busy_timeout={_BUSY_MS}", *_PRAGMAS):
            cursor.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()  # nobody else would: it is not the pool's yet
        raise
    cursor.close()


def _on_begin(connection: Any) -> None:
    """A writer takes its lock at once: one that begins by reading could not wait for another writer any more."""
    options = connection.get_execution_options()
    if not options.get("lectern_outside"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("lectern_writes") else "BEGIN")
