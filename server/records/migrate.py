"""Brings a database's schema up to date (Alembic), one server at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from avatars.folders import make_private
from server.records.address import Address
from server.records.errors import DatabaseUnusable, reason
from server.records.tables import VERSION_TABLE

MIGRATIONS = Path(__file__).with_name("migrations")

SECONDS = 120.0
LOCK_SECONDS = 60
_LOCK = 0x4C656374  # of PostgreSQL's advisory locks: one server migrates, the others wait for it


@dataclass(frozen=True, slots=True)
class Migrated:
    """The version before (None: an empty database) and now."""

    before: str | None
    now: str | None


def upgrade(address: Address) -> Migrated:
    """Blocking. Raises DatabaseUnusable: it cannot be opened, or was made by a newer Lectern."""
    if address.file is not None:
        _prepare(address, address.file)
    try:
        return asyncio.run(_upgrade(address))
    except DatabaseUnusable:
        raise
    except TimeoutError as error:
        raise _unusable(address, "it does not answer in time") from error
    except (SQLAlchemyError, OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unusable(address, reason(error)) from error


async def _upgrade(address: Address) -> Migrated:
    from server.records.database import engine_of

    engine = engine_of(address).execution_options(lectern_writes=True)
    try:
        async with asyncio.timeout(SECONDS), engine.begin() as connection:
            if address.kind == "postgresql":
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            return await connection.run_sync(lambda sync: _run(sync, address))
    finally:
        await engine.dispose()


def _run(connection: Connection, address: Address) -> Migrated:
    """All migrations that are missing, in the one transaction that the connection is in."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    before = context.get_current_revision()
    head = scripts.get_current_head()
    if before is not None and before not in {script.revision for script in scripts.walk_revisions()}:
        raise _unusable(
            address, f"a newer Lectern made it (version {before}; this one knows {head}). Start that one again"
        )
    if before != head:
        command.upgrade(config, "head")
    return Migrated(before, head)


def _prepare(address: Address, file: Path) -> None:
    """Make the file and its folder, for this user only, and see that it can be opened: aiosqlite leaves a thread behind
    where it cannot. -wal and -shm are made by SQLite with the file's mode.
    """
    try:
        make_private(file.parent)
    except OSError as error:
        raise _unusable(address, f"its folder cannot be made: {error.strerror}") from error
    try:
        with contextlib.suppress(FileExistsError):
            os.mknod(file, 0o600)  # without a handle: closing one would end SQLite's locks in this process
        sqlite3.connect(file).close()
    except OSError as error:
        raise _unusable(address, f"it cannot be made: {error.strerror}") from error
    except sqlite3.Error as error:
        raise _unusable(address, reason(error)) from error


def _unusable(address: Address, why: str) -> DatabaseUnusable:
    return DatabaseUnusable(
        f"records.database_url: the database ({address.shown}) cannot be used: {address.hide(why).rstrip('.')}."
    )
