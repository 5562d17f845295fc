"""Log lines that strangers cause, at most so many a second: a flood of bad requests costs no more than it must."""

from __future__ import annotations

import logging
import time

from aiohttp.http_exceptions import HttpProcessingError

LINES = 20.0  # a second
BURST = 100.0


class Sparing:
    """A bucket of lines. Pure: `now` in seconds of any clock comes in."""

    def __init__(self, lines: float = LINES, burst: float = BURST) -> None:
        self._lines, self._burst = lines, burst
        self._have, self._since = burst, 0.0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """None: write no line. Else how many were left out since the last one that was written."""
        self._have = min(self._burst, self._have + (now - self._since) * self._lines)
        self._since = now
        if self._have < 1:
            self._left_out += 1
            return None
        self._have -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class UnreadableRequests(logging.Filter):
    """What aiohttp says of bytes that are no HTTP: one line of it without a traceback, sparingly."""

    def __init__(self) -> None:
        super().__init__()
        self._sparing = Sparing()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        left_out = self._sparing.take(time.monotonic())
        if left_out is None:
            return False
        more = f" ({left_out} such lines left out before)" if left_out else ""
        record.msg, record.args = f"request_unreadable: {type(error).__name__}{more}", ()
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return record.levelno >= logging.getLogger().level
