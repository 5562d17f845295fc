"""All records of a server under one roof, opened and closed together."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack

from server.records.address import address_of
from server.records.database import Database
from server.records.errors import DatabaseUnusable, RecordsUnavailable
from server.records.journal import Journal
from server.records.keeper import Keeper
from server.records.sessions import SessionRecords
from server.records.tutors import Tutors
from server.settings import Settings


class Records:
    """The composition root makes one, hands its parts out, and opens it before anything else."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet. Raises SettingsError where the address is none."""
        days = settings.records.retention_days
        self.database = Database(address_of(settings))
        self.tutors = Tutors(self.database)
        self.sessions = SessionRecords(self.database, f"{socket.gethostname()}:{settings.server.port}"[:300])
        self.journal = Journal(self.sessions, keep_words=days > 0)
        self.keeper = Keeper(self.sessions, self.journal, days)
        self._parts = AsyncExitStack()

    async def open(self) -> None:
        """Raises SettingsError."""
        self._parts.push_async_callback(self.database.close)
        try:
            await self.database.open()
            await self.keeper.start()
            self._parts.push_async_callback(self.keeper.close)
            await self.journal.start()
            self._parts.push_async_callback(self.journal.close)
        except RecordsUnavailable as error:
            await self.close()
            raise DatabaseUnusable(f"records.database_url: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """The journal first: what it knows is written."""
        await self._parts.aclose()
