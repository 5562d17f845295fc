"""A flood of refusals is logged in part, and the log says how much was left out."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import BadHttpMessage

from server.sparing import Sparing, UnreadableRequests


def test_so_many_lines_a_second_and_the_rest_is_counted() -> None:
    sparing = Sparing(lines=2, burst=3)
    assert [sparing.take(10.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert sparing.take(10.25) is None
    assert sparing.take(10.5) == 3
    assert sparing.take(60.0) == 0


def _record(error: Exception) -> logging.LogRecord:
    exc_info = (type(error), error, None)
    return logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "Error handling request", (), exc_info)


def test_bytes_that_are_no_http_make_a_short_line_and_not_each_one() -> None:
    logging.getLogger().setLevel(logging.INFO)
    bad = UnreadableRequests()
    first = _record(BadHttpMessage("nonsense"))
    assert bad.filter(first)
    assert (first.levelno, first.exc_info, first.getMessage()) == (20, None, "request_unreadable: BadHttpMessage")
    kept = sum(bad.filter(_record(BadHttpMessage("nonsense"))) for _ in range(1000))
    assert kept < 200


def test_an_error_of_our_own_keeps_its_traceback() -> None:
    record = _record(RuntimeError("ours"))
    assert UnreadableRequests().filter(record)
    assert record.exc_info is not None
