"""What commands read of the records, with or without a server that runs on them; they migrate nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from server.records.address import Address, address_of
from server.records.database import Database
from server.records.errors import RecordsUnavailable, reason
from server.records.tutors import Link, Tutors
from server.settings import Settings, SettingsError


def links(settings: Settings) -> list[Link]:
    """All tutors, with their avatars; none where there is no database yet. Blocking. Raises SettingsError."""
    address = address_of(settings)
    if address.file is not None and not address.file.exists():
        return []
    try:
        return asyncio.run(_links(address))
    except RecordsUnavailable as error:
        raise SettingsError(f"records.database_url: the tutors cannot be looked up: {error}") from error
    except SQLAlchemyError as error:
        why = address.hide(reason(error))
        raise SettingsError(f"records.database_url: this database holds no tutors: {why}") from error


@dataclass(frozen=True, slots=True)
class Look:
    """words: what was found, or what is in the way."""

    usable: bool
    words: str


def look(settings: Settings) -> Look:
    """Whether the database answers. Blocking; nothing is made or migrated."""
    try:
        address = address_of(settings)
        if address.file is not None and not address.file.exists():
            return Look(True, f"{address.file}: will be made at the start")
        asyncio.run(_ping(address))
    except (SettingsError, RecordsUnavailable, SQLAlchemyError) as error:
        return Look(False, reason(error))
    return Look(True, f"{address.shown} answers")


async def _ping(address: Address) -> None:
    database = Database(address)
    try:
        await database.ping()
    finally:
        await database.close()


async def _links(address: Address) -> list[Link]:
    database = Database(address)
    try:
        return await Tutors(database).links()
    finally:
        await database.close()
