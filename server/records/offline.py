"""What commands read of the records, with or without a server that runs on them; they migrate nothing."""

from __future__ import annotations

import asyncio

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


async def _links(address: Address) -> list[Link]:
    database = Database(address)
    try:
        return await Tutors(database).links()
    finally:
        await database.close()
