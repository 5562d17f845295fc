"""What can go wrong between the server and its database."""

from __future__ import annotations

from server.settings import SettingsError


class RecordsUnavailable(Exception):
    """The database does not answer now; nothing was changed, and the same may be tried again."""


class DatabaseUnusable(SettingsError):
    """The server cannot start with its database: it is away, or not one of ours."""

    what = "the database cannot be used"


class RecordExists(Exception):
    """There is a record with this id already."""


def reason(error: BaseException) -> str:
    """What the driver said, in a line, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return (str(original) or type(original).__name__).splitlines()[0]
