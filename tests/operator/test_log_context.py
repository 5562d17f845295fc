"""Log lines carry the session that they belong to, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server.keys import PEERS
from server.log_context import about, of_nobody
from tests.rtc.clients import AiortcViewer
from tests.server.conftest import Serve


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What is logged from here on, with its context, as the server's own processors see it."""
    captured = structlog.testing.LogCapture()
    old = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, captured], cache_logger_on_first_use=False)
    yield captured.entries  # type: ignore[misc]
    structlog.configure(**old)


async def test_tasks_carry_it_and_what_serves_all_does_not(lines: list[dict[str, Any]]) -> None:
    log = structlog.get_logger("test")

    async def say(what: str, **more: Any) -> None:
        await asyncio.sleep(0)
        log.info(what, **more)

    with about("s1"):
        own = asyncio.create_task(say("own"))
        shared = asyncio.create_task(say("shared"), context=of_nobody())
        named = asyncio.create_task(say("named", session="s2"))
    log.info("after")
    await asyncio.gather(own, shared, named)
    assert {line["event"]: line.get("session") for line in lines} == {
        "own": "s1",
        "shared": None,
        "named": "s2",
        "after": None,
    }


async def test_every_line_of_a_session_names_it(serve: Serve, lines: list[dict[str, Any]]) -> None:
    """Two students on one connection of the school's server, each with a viewer: no line lacks its session, or has the
    other's.
    """
    running = await serve()
    lines.clear()
    made = [await running.session(student_id=student) for student in ("ann", "ben")]
    viewers = []
    for session in made:
        viewer = AiortcViewer()
        viewers.append(viewer)
        headers = {"Authorization": f"Bearer {session['engine_token']}", "Content-Type": "application/sdp"}
        answer = await running.client.post(session["whep_url"], data=await viewer.offer(), headers=headers)
        assert answer.status == 201
        await viewer.accept(await answer.text())
        await viewer.until(lambda viewer=viewer: viewer.frames > 0)  # type: ignore[misc]
        path = f"/v1/sessions/{session['session_id']}"
        assert (await running.client.post(f"{path}/say", json={"text": "Hello."})).status == 202
        assert (await running.client.post(f"{path}/interrupt")).status == 200
    before = len(lines)
    await running.app[PEERS].close()
    for session in made:
        assert (await running.client.delete(f"/v1/sessions/{session['session_id']}")).status == 204
    for viewer in viewers:
        await viewer.close()

    ids = {session["session_id"] for session in made}
    of_sessions = [line for line in lines if line["event"] != "request" or "{session_id}" in line["route"]]
    nameless = {line["event"] for line in of_sessions if line.get("session") not in ids}
    assert nameless <= {"rtc_port_opened"}  # of the server
    assert {line["session"] for line in lines[before:] if line["event"] == "peer_gone"} == ids
    turns = [line for line in lines if line["event"] == "turn"]
    assert {line["session"] for line in turns} == ids
    assert all(line["outcome"] == "interrupted" and line["sound_ms"] >= 0 for line in turns)
    assert all("Hello" not in str(line) for line in lines)  # no word of what was said
