"""What can go wrong between the server and its database."""

from __future__ import annotations


class RecordsUnavailable(Exception):
    """The database does not answer now; nothing was changed, and the same may be tried again."""


class RecordExists(Exception):
    """There is a record with this id already."""


def reason(error: BaseException) -> str:
    """What the driver said, in a line, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return (str(original) or type(original).__name__).splitlines()[0]
