"""Log lines carry the session that they belong to, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server import speech
from server.keys import PEERS
from server.log_context import about, of_nobody
from server.rtc.peer import Peer
from tests.rtc.clients import AiortcViewer, until
from tests.server.conftest import Serve
from tests.server.fakes import FakeSession


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


@pytest.fixture
def talkative(lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that log without naming a session: a live session's task, a call, and the watch of all viewers."""
    log = structlog.get_logger("test")
    start, say = FakeSession.start, speech.say

    async def started(live: FakeSession) -> None:
        await start(live)

        async def later() -> None:
            await asyncio.sleep(0.05)
            log.info("live", about=live.id)

        live._plays.add(asyncio.create_task(later()))

    async def said(app: Any, session: Any, *rest: Any) -> str:
        log.info("call", about=session.id)
        return await say(app, session, *rest)

    monkeypatch.setattr(FakeSession, "start", started)
    monkeypatch.setattr(speech, "say", said)
    monkeypatch.setattr(Peer, "look", lambda peer: log.info("look", about=None))


async def test_every_line_of_a_session_names_it(serve: Serve, lines: list[dict[str, Any]], talkative: None) -> None:
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
    await until(lambda: any(line["event"] == "look" for line in lines))
    before = len(lines)
    await running.app[PEERS].close()
    for session in made:
        assert (await running.client.delete(f"/v1/sessions/{session['session_id']}")).status == 204
    for viewer in viewers:
        await viewer.close()

    ids = {session["session_id"] for session in made}
    of_sessions = [line for line in lines if line["event"] != "request" or "{session_id}" in line["route"]]
    nameless = {line["event"] for line in of_sessions if line.get("session") not in ids}
    assert nameless <= {"rtc_port_opened", "look"}  # of the server
    quoted = [line for line in lines if "about" in line]
    assert {line["event"] for line in quoted} == {"live", "call", "look"}
    assert [line for line in quoted if line.get("session") != line["about"]] == []
    assert {line["session"] for line in lines[before:] if line["event"] == "peer_gone"} == ids
    turns = [line for line in lines if line["event"] == "turn"]
    assert {line["session"] for line in turns} == ids
    assert all(line["outcome"] == "interrupted" and line["sound_ms"] >= 0 for line in turns)
    assert all("Hello" not in str(line) for line in lines)  # no word of what was said


async def test_a_websockets_end_is_logged_with_its_number(serve: Serve, lines: list[dict[str, Any]]) -> None:
    server = await serve()
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    socket._response.close()  # without a closing handshake
    await until(lambda: any(line["event"] == "websocket_closed" for line in lines))
    (closed,) = (line for line in lines if line["event"] == "websocket_closed")
    assert str(closed["close_code"]) == repr(closed["close_code"]) == "1006"
