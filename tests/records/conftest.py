"""Both databases: the same tests run on a SQLite file and on a PostgreSQL of the tests' own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from server.records import migrate
from server.records.address import Address, parse
from server.records.database import Database
from tests.records import postgres
from tests.server.conftest import _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]

KINDS = ["sqlite", "postgresql"]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_sockets() -> Iterator[Path]:
    with postgres.running() as sockets:
        yield sockets


async def fresh(sockets: Path) -> str:
    """The URL of a new, empty database."""
    name = f"lectern_{next(_numbers)}"
    admin = await asyncpg.connect(dsn("postgres", sockets))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    finally:
        await admin.close()
    return dsn(name, sockets)


def dsn(name: str, sockets: Path, who: str = "postgres") -> str:
    return f"postgresql://{who}@/{name}?host={sockets}"


@pytest.fixture(scope="session")
def shared_url(postgres_sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a PostgreSQL database with all tables, which tests empty and use one after the other."""

    def make() -> str:
        url = asyncio.run(fresh(postgres_sockets))
        migrate.upgrade(parse(url, tmp_path_factory.getbasetemp() / "unused.db"))
        return url

    with ThreadPoolExecutor(1) as elsewhere:  # a test's loop runs here already
        return elsewhere.submit(make).result()


@pytest.fixture(params=KINDS)
async def empty_address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """A database of each kind without anything in it."""
    if request.param == "sqlite":
        return parse("", tmp_path / "empty.db")
    return parse(await fresh(request.getfixturevalue("postgres_sockets")), tmp_path / "unused.db")


@pytest.fixture(params=KINDS)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without records."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    shared: str = request.getfixturevalue("shared_url")
    connection = await asyncpg.connect(shared)
    try:
        await connection.execute("TRUNCATE lectern_tutors, lectern_sessions, lectern_turns")
    finally:
        await connection.close()
    return shared


@pytest.fixture
async def database(url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Open, with all its tables."""
    made = Database(parse(url, tmp_path / "unused.db"))
    await made.open()
    yield made
    await made.close()
