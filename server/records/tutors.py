"""The tutors in the database: added, found, listed, changed and removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from server.records.database import Database
from server.records.errors import RecordExists
from server.records.tables import TUTORS


@dataclass(frozen=True, slots=True)
class Tutor:
    """What is None is as for all: the newest avatar made for the tutor's id, the default voice, and so on."""

    id: str
    name: str
    description: str
    avatar_id: str | None
    voice: str | None
    language: str | None
    persona: str | None
    model: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A tutor's name, and the avatar that is linked with it."""

    id: str
    name: str
    avatar_id: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of `total`."""

    total: int
    tutors: list[Tutor]


_COLUMNS = tuple(TUTORS.c[name] for name in Tutor.__slots__)


class Tutors:
    """Every method raises RecordsUnavailable where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tutor_id: str, **values: Any) -> Tutor:
        """values: Tutor's fields but the id and the times. Raises RecordExists."""
        now = datetime.now(UTC)
        tutor = Tutor(**values, id=tutor_id, created_at=now, updated_at=now)
        row = {name: getattr(tutor, name) for name in Tutor.__slots__} | {"name_key": _key(tutor.name)}
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(TUTORS).values(row))
        except IntegrityError as error:
            raise RecordExists(tutor_id) from error
        return tutor

    async def get(self, tutor_id: str) -> Tutor | None:
        async with self._database.reading() as connection:
            found = await connection.execute(select(*_COLUMNS).where(TUTORS.c.id == tutor_id))
            row = found.one_or_none()
        return None if row is None else _tutor(row)

    async def of_avatar(self, avatar_id: str) -> list[Tutor]:
        """Those that are linked with an avatar, the oldest first."""
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(*_COLUMNS).where(TUTORS.c.avatar_id == avatar_id).order_by(TUTORS.c.created_at, TUTORS.c.id)
            )
            return [_tutor(row) for row in found]

    async def page(self, *, search: str = "", limit: int, offset: int) -> Page:
        """Those whose name holds `search`, upper and lower case alike; by name."""
        where = TUTORS.c.name_key.contains(_key(search), autoescape=True)
        async with self._database.reading() as connection:
            total = await connection.scalar(select(func.count()).select_from(TUTORS).where(where))
            found = await connection.execute(
                select(*_COLUMNS).where(where).order_by(TUTORS.c.name_key, TUTORS.c.id).limit(limit).offset(offset)
            )
            return Page(total or 0, [_tutor(row) for row in found])

    async def links(self) -> list[Link]:
        """All tutors, the oldest first."""
        query = select(TUTORS.c.id, TUTORS.c.name, TUTORS.c.avatar_id).order_by(TUTORS.c.created_at, TUTORS.c.id)
        async with self._database.reading() as connection:
            return [Link(**row._mapping) for row in await connection.execute(query)]

    async def change(self, tutor_id: str, values: Mapping[str, Any]) -> Tutor | None:
        """Set some fields; gives the tutor as it is then, or None where there is none."""
        changed = {**values, "updated_at": datetime.now(UTC)}
        if "name" in values:
            changed["name_key"] = _key(values["name"])
        async with self._database.writing() as connection:
            await connection.execute(update(TUTORS).where(TUTORS.c.id == tutor_id).values(changed))
            found = await connection.execute(select(*_COLUMNS).where(TUTORS.c.id == tutor_id))
            row = found.one_or_none()
        return None if row is None else _tutor(row)

    async def remove(self, tutor_id: str) -> bool:
        """Whether there was one."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(TUTORS).where(TUTORS.c.id == tutor_id))
            return gone.rowcount > 0


def _tutor(row: Row[Any]) -> Tutor:
    return Tutor(**row._mapping)


def _key(name: str) -> str:
    return name.casefold()
