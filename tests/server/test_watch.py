"""The watcher of the sessions outlives what goes wrong around it, and every end frees the seat."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from server.admission import Limits
from server.sessions import Session, Sessions
from tests.rtc.clients import until


async def _open(session: Session) -> Any:
    return SimpleNamespace()


async def test_a_session_deleted_while_another_times_out() -> None:
    blocked, ending = asyncio.Event(), asyncio.Event()
    slow = ""

    async def close(session: Session, live: Any) -> None:
        if session.id == slow:
            ending.set()
            await blocked.wait()

    sessions = Sessions(Limits(8, 0.05, 0.1, 10.0), _open, close)
    first = await sessions.create(avatar_id="x", student_id="1")
    second = await sessions.create(avatar_id="x", student_id="2")
    slow = first.id
    await sessions.start()
    try:
        await asyncio.wait_for(ending.wait(), 30)
        await sessions.end(second, "deleted")
        blocked.set()
        third = await sessions.create(avatar_id="x", student_id="3")
        await until(lambda: third.ended)
        assert sessions.all() == []
    finally:
        await sessions.close()


async def test_an_end_that_fails_still_gives_the_seat_back() -> None:
    async def close(session: Session, live: Any) -> None:
        raise RuntimeError("the encoder would not close")

    sessions = Sessions(Limits(1, 60, 0.1, 10.0), _open, close)
    session = await sessions.create(avatar_id="x", student_id="1")
    with pytest.raises(RuntimeError, match="would not close"):
        await sessions.end(session, "deleted")
    await sessions.create(avatar_id="x", student_id="2")


async def test_closing_waits_for_the_end_under_way() -> None:
    freed: list[str] = []
    ending = asyncio.Event()

    async def close(session: Session, live: Any) -> None:
        ending.set()
        await asyncio.sleep(0.05)
        freed.append(session.id)

    sessions = Sessions(Limits(8, 0.05, 0.1, 10.0), _open, close)
    session = await sessions.create(avatar_id="x", student_id="1")
    await sessions.start()
    await asyncio.wait_for(ending.wait(), 30)
    await sessions.close()
    assert freed == [session.id]
