"""All records of a server under one roof, opened and closed together."""

from __future__ import annotations

from server.records.address import address_of
from server.records.database import Database
from server.records.tutors import Tutors
from server.settings import Settings


class Records:
    """The composition root makes one, hands its parts out, and opens it before anything else."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet. Raises SettingsError where the address is none."""
        self.database = Database(address_of(settings))
        self.tutors = Tutors(self.database)

    async def open(self) -> None:
        """Raises SettingsError."""
        await self.database.open()

    async def close(self) -> None:
        await self.database.close()
