"""The schema comes with the start, is what the code says, and a database that cannot be used is told in a sentence."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from server import main
from server.records import migrate
from server.records.address import Address, parse
from server.records.database import Database
from server.records.errors import RecordsUnavailable
from server.records.tables import METADATA, PREFIX, VERSION_TABLE
from server.settings import SettingsError
from tests.records.conftest import dsn
from tests.records.postgres import PASSWORD


def differences(connection: Connection) -> list[object]:
    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "include_name": lambda name, kind, parents: kind != "table" or name.startswith(PREFIX),
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))


@pytest.fixture
async def own_database(empty_address: Address) -> AsyncIterator[Database]:
    """That a test may spoil."""
    made = Database(empty_address)
    await made.open()
    yield made
    await made.close()


async def test_the_migrated_schema_is_the_one_in_the_code(own_database: Database) -> None:
    async with own_database.reading() as connection:
        assert await connection.run_sync(differences) == []
    async with own_database.writing() as connection:  # and a column too few would be noticed
        await connection.execute(text("ALTER TABLE lectern_tutors DROP COLUMN model"))
    async with own_database.reading() as connection:
        assert len(await connection.run_sync(differences)) == 1


async def test_opening_again_changes_nothing(empty_address: Address) -> None:
    first = await asyncio.to_thread(migrate.upgrade, empty_address)
    second = await asyncio.to_thread(migrate.upgrade, empty_address)
    assert first.before is None
    assert second.before == second.now == first.now


async def test_two_servers_that_start_at_once_migrate_once(empty_address: Address) -> None:
    made = await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, empty_address) for _ in range(3)))
    assert sorted(each.before is None for each in made) == [False, False, True]


async def test_a_newer_database_is_left_alone(own_database: Database) -> None:
    async with own_database.writing() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SettingsError, match=r"a newer Lectern made it \(version 9999; this one knows \d+\)"):
        await own_database.open()


async def test_what_fails_leaves_no_half_of_a_transaction(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(text("DELETE FROM lectern_version"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with database.reading() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM lectern_version")) == 1


async def test_writers_wait_for_each_other(database: Database) -> None:
    """On SQLite one that had only read before could not."""

    async def add() -> None:
        async with database.writing() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM lectern_version"))
            await asyncio.sleep(0.01)
            await connection.execute(text("UPDATE lectern_version SET version_num = version_num"))
            assert count == 1

    await asyncio.gather(*(add() for _ in range(12)))


async def test_others_on_the_machine_cannot_read_it(tmp_path: Path) -> None:
    """Neither the file, nor what SQLite puts beside it, nor a folder that is made for it."""
    before = os.umask(0o022)
    database = Database(parse("", tmp_path / "data" / "in" / "lectern.db"))
    try:
        await database.open()
        async with database.writing() as connection:
            await connection.execute(text("UPDATE lectern_version SET version_num = version_num"))
        found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").rglob("*")}
    finally:
        await database.close()
        os.umask(before)
    assert found == {"in": 0o700, **dict.fromkeys(("lectern.db", "lectern.db-wal", "lectern.db-shm"), 0o600)}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_database_that_is_away_is_no_wrong_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError) as failed:
        migrate.upgrade(parse("postgresql://ada:hush@127.0.0.1:1/lectern", tmp_path / "x.db"))
    assert main._settings_wrong(failed.value) == 1
    said = capsys.readouterr().err
    assert said.startswith("Lectern cannot start: the database cannot be used.\nrecords.database_url: ")
    assert "hush" not in said


async def test_sqlite_is_in_wal_mode_and_safe(tmp_path: Path) -> None:
    database = Database(parse("", tmp_path / "a" / "lectern.db"))
    await database.open()
    try:
        async with database.writing() as connection:
            for pragma, value in (
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("foreign_keys", 1),
                ("secure_delete", 1),
            ):
                assert await connection.scalar(text(f"PRAGMA {pragma}")) == value
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:hush@h/d", "is neither sqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://u:hush@h/x.db", "names no file"),
        ("sqlite:///x.db?mode=hush", "takes no options"),
        ("postgres://u:hush@h:port/d", "is not a URL"),
        ("/srv/hush.db", "is neither sqlite"),
    ],
)
def test_addresses_that_are_none(url: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=why) as wrong:
        parse(url, tmp_path / "x.db")
    assert str(wrong.value).startswith("records.database_url: ")
    assert "hush" not in str(wrong.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_the_password_is_not_shown(scheme: str, tmp_path: Path) -> None:
    address = parse(f"{scheme}://ada:h%40sh@db.school.example:5433/lectern?sslmode=require", tmp_path / "x.db")
    assert address.shown == "PostgreSQL on db.school.example:5433, database lectern"
    assert address.dsn.startswith("postgresql://ada:h%40sh@")
    assert "sh" not in repr(address).replace("shown", "").replace("school", "")
    assert address.hide("no h@sh for h%40sh") == "no … for …"


def test_several_hosts_and_a_socket(tmp_path: Path) -> None:
    several = parse("postgres://u:p@one:5432,two:5433/d?target_session_attrs=primary", tmp_path / "x.db")
    assert several.shown == "PostgreSQL on one:5432,two:5433, database d"
    assert parse("postgresql:///?host=/run/pg", tmp_path / "x.db").shown == (
        "PostgreSQL on a local socket, database (the default)"
    )


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(SettingsError, match="file is not a database"):
        migrate.upgrade(parse("", file))


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="its folder cannot be made"):
        migrate.upgrade(parse("", tmp_path / "file" / "x.db"))
    with pytest.raises(SettingsError, match="unable to open database file"):
        migrate.upgrade(parse("", tmp_path))


def test_a_database_of_another_program(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE sessions (id INTEGER)")
        other.execute("INSERT INTO sessions VALUES (7)")
    migrate.upgrade(parse("", file))
    with sqlite3.connect(file) as other:
        assert other.execute("SELECT id FROM sessions").fetchall() == [(7,)]


async def test_postgresql_that_is_not_there(tmp_path: Path) -> None:
    address = parse("postgresql://ada:hush@127.0.0.1:1/lectern", tmp_path / "x.db")
    with pytest.raises(SettingsError, match="PostgreSQL on 127") as wrong:
        await asyncio.to_thread(migrate.upgrade, address)
    assert "hush" not in str(wrong.value)
    database = Database(address)
    with pytest.raises(RecordsUnavailable) as away:
        await database.ping()
    assert "hush" not in str(away.value)
    await database.close()


async def test_postgresql_with_a_wrong_password(postgres_sockets: Path, tmp_path: Path) -> None:
    import asyncpg

    admin = await asyncpg.connect(dsn("postgres", postgres_sockets))
    await admin.execute(f"CREATE ROLE school LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute("CREATE DATABASE school OWNER school")
    await admin.close()
    wrong = parse(dsn("school", postgres_sockets, "school:wr0ng"), tmp_path / "x.db")
    with pytest.raises(SettingsError, match="password authentication failed") as refused:
        await asyncio.to_thread(migrate.upgrade, wrong)
    assert "wr0ng" not in str(refused.value)
    right = parse(dsn("school", postgres_sockets, f"school:{PASSWORD}"), tmp_path / "x.db")
    assert (await asyncio.to_thread(migrate.upgrade, right)).before is None
    elsewhere = parse(dsn("nowhere", postgres_sockets), tmp_path / "x.db")
    with pytest.raises(SettingsError, match='database "nowhere" does not exist'):
        await asyncio.to_thread(migrate.upgrade, elsewhere)


async def test_a_file_that_was_taken_away_does_not_answer(tmp_path: Path) -> None:
    """Its connections go on with what has no name any more, and would lose all of it."""
    file = tmp_path / "lectern.db"
    database = Database(parse("", file))
    await database.open()
    try:
        await database.ping()
        file.rename(tmp_path / "away.db")
        with pytest.raises(RecordsUnavailable, match="removed or replaced"):
            await database.ping()
        file.write_bytes((tmp_path / "away.db").read_bytes())
        with pytest.raises(RecordsUnavailable, match="removed or replaced"):
            await database.ping()
        (tmp_path / "away.db").rename(file)
        await database.ping()
    finally:
        await database.close()
