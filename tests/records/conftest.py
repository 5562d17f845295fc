"""Both databases: the same tests run on a SQLite file and on a PostgreSQL of the tests' own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from server.records.address import Address, parse
from server.records.database import Database
from tests.records import postgres
from tests.server.conftest import _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]

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


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    return await fresh(request.getfixturevalue("postgres_sockets"))


@pytest.fixture
def address(url: str, tmp_path: Path) -> Address:
    return parse(url, tmp_path / "unused.db")


@pytest.fixture
async def database(address: Address) -> AsyncIterator[Database]:
    """Open, with all its tables."""
    made = Database(address)
    await made.open()
    yield made
    await made.close()
