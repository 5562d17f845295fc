"""Where the database is: `records.database_url` read, completed, and shown without its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from server.settings import Settings, SettingsError

FILE = "lectern.db"

_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite"})


@dataclass(frozen=True, slots=True)
class Address:
    """One of `file` (SQLite) and `dsn` (PostgreSQL, as asyncpg reads it). shown: for people, without password."""

    kind: Literal["sqlite", "postgresql"]
    shown: str
    file: Path | None = None
    dsn: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """A message of the driver, without the secrets it might repeat."""
        for secret in (self.dsn, self.secret, unquote(self.secret)):
            text = text.replace(secret, "…") if secret else text
        return text


def address_of(settings: Settings) -> Address:
    """Where the settings say that records are. Raises SettingsError."""
    return parse(settings.records.database_url.get_secret_value(), settings.avatars.dir.parent / FILE)


def parse(url: str, default: Path) -> Address:
    """default: the SQLite file that "" stands for. Raises SettingsError, which repeats no part of the URL."""
    if not url:
        return Address("sqlite", str(default), file=default)
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2]
        if "," not in hosts:
            _ = parts.port
    except ValueError as error:
        raise _wrong("is not a URL; write it like postgresql://user:password@host:5432/name") from error
    if parts.scheme in _SQLITE:
        path = unquote(parts.path.removeprefix("/"))
        if parts.netloc or not path or ":memory:" in path:
            raise _wrong("names no file; write it like sqlite:///data/lectern.db, or sqlite:////srv/lectern.db")
        if parts.query:
            raise _wrong("a SQLite database takes no options (what follows the ?)")
        return Address("sqlite", path, file=Path(path))
    if parts.scheme in _POSTGRESQL:
        dsn = "postgresql://" + url.partition("://")[2]
        shown = f"PostgreSQL on {hosts or 'a local socket'}, database {parts.path.strip('/') or '(the default)'}"
        return Address("postgresql", shown, dsn=dsn, secret=parts.password or "")
    raise _wrong("is neither sqlite:///file nor postgresql://user:password@host/name")


def _wrong(why: str) -> SettingsError:
    return SettingsError(f"records.database_url: {why}")
