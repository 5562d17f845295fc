"""The waiting line over HTTP, WebSocket and server-sent events."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from server.limits import Refusal
from server.sessions import Session
from tests.limits.conftest import Clock
from tests.rtc.clients import LIMIT, AiortcViewer, until
from tests.server.conftest import Running, Serve, problem
from tests.server.test_session_events import follow
from tests.server.test_ws import heard

WAIT = {"avatar_id": "ada", "student_id": "s", "wait": True}


async def waiting(server: Running, **more: Any) -> dict[str, Any]:
    answer = await server.client.post("/v1/sessions", json={**WAIT, **more})
    assert answer.status == 202, await answer.text()
    assert answer.headers["Location"]
    body: dict[str, Any] = await answer.json()
    assert body["status"] == "waiting"
    return body


async def end(server: Running, made: dict[str, Any]) -> None:
    assert (await server.client.delete(f"/v1/sessions/{made['session_id']}")).status == 204


async def test_with_room_nobody_waits(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.post("/v1/sessions", json=WAIT)
    assert (answer.status, (await answer.json())["status"]) == (201, "ready")
    assert "position" not in await answer.json()


async def test_first_come_first_served_and_everybody_knows_where_they_are(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    first, second = await waiting(server), await waiting(server)
    assert (first["position"], second["position"]) == (1, 2)
    assert {"engine_url", "engine_token", "whep_url", "expires_at", "ice_servers"} <= second.keys()
    shown = await (await server.client.get(f"/v1/sessions/{second['session_id']}")).json()
    assert (shown["status"], shown["position"], shown["viewers"]) == ("waiting", 2, 0)
    listed = await (await server.client.get("/v1/sessions")).json()
    assert (listed["total"], listed["waiting"]) == (3, 2)
    assert (await (await server.client.get("/health")).json())["sessions"]["waiting"] == 2

    one = await server.client.ws_connect(first["engine_url"])
    two = await server.client.ws_connect(second["engine_url"])
    reader = await follow(server, second["session_id"])
    assert (await heard(one, "queue_position"))["position"] == 1
    assert (await heard(two, "queue_position"))["position"] == 2
    number, told = await reader.next() or (0, {})
    assert (number, told["type"], told["position"]) == (None, "queue_position", 2)

    await end(server, talking)
    assert await heard(one, "session_ready") == {"type": "session_ready"}
    assert (await heard(two, "queue_position"))["position"] == 1
    assert (await reader.some(1))[0][1]["position"] == 1
    assert len(server.lives) == 2
    shown = await (await server.client.get(f"/v1/sessions/{first['session_id']}")).json()
    assert shown["status"] == "active"
    assert "position" not in shown
    await one.send_json({"type": "say", "text": "It is my turn."})
    await heard(one, "speech_started")

    await end(server, first)
    await heard(two, "session_ready")
    assert [data["type"] for _, data in await reader.some(1)] == ["session_ready"]
    again = await follow(server, second["session_id"])
    assert await again.next() == (None, {"type": "session_ready"}), "who comes late learns it, too"


async def test_a_newcomer_never_takes_the_seat_of_who_waits(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    first = await waiting(server)
    begun, go_on = asyncio.Event(), asyncio.Event()
    opened = server.sessions._lives._open

    async def slowly(session: Session) -> Any:
        begun.set()
        await go_on.wait()
        return await opened(session)

    monkeypatch.setattr(server.sessions._lives, "_open", slowly)
    await end(server, talking)
    await asyncio.wait_for(begun.wait(), LIMIT)
    assert (await (await server.client.get(f"/v1/sessions/{first['session_id']}")).json())["status"] == "starting"
    answer = await server.client.post("/v1/sessions", json={**WAIT, "wait": False})
    await problem(answer, 503, "at_capacity")
    assert (await waiting(server))["position"] == 1
    go_on.set()
    session = server.sessions.get(first["session_id"])
    await until(lambda: session.live is not None)


async def test_what_needs_a_tutor_is_refused_until_it_is_ones_turn(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    await waiting(server)
    mine = await waiting(server)
    url = f"/v1/sessions/{mine['session_id']}"
    token = {"Authorization": f"Bearer {mine['engine_token']}"}
    viewer = AiortcViewer()
    try:
        offer = await viewer.offer()
        sdp = {**token, "Content-Type": "application/sdp"}
        rtvi = {"sdp": offer, "type": "offer"}
        for answer in (
            await server.client.post(f"{url}/ask", json={"text": "Now?"}),
            await server.client.post(f"{url}/say", json={"text": "Now?"}),
            await server.client.post(f"{url}/whep", data=offer, headers=sdp),
            await server.client.post(mine["rtvi_url"], json=rtvi),
        ):
            body = await problem(answer, 503, "waiting")
            assert (body["position"], body["estimated_seconds"]) == (2, None)
            assert answer.headers["Retry-After"]
    finally:
        await viewer.close()
    socket = await server.client.ws_connect(mine["engine_url"])
    await socket.send_json({"type": "text", "text": "Now?", "request_id": "1"})
    error = await heard(socket, "error")
    assert (error["code"], error["position"], error["request_id"]) == ("waiting", 2, "1")
    await socket.send_json({"type": "init", "request_id": "2"})
    assert (await heard(socket, "processing_status"))["request_id"] == "2"
    assert (await server.client.post(f"{url}/interrupt")).status == 200
    assert (await (await server.client.get(f"{url}/stats")).json())["live"] is None
    await end(server, talking)


async def test_the_line_is_bounded_and_may_be_none(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1, "max_waiting": 1})
    await server.session()
    await waiting(server)
    answer = await server.client.post("/v1/sessions", json=WAIT)
    assert (await problem(answer, 503, "at_capacity"))["cause"] == "line"
    assert answer.headers["Retry-After"]
    figures = await (await server.client.get("/metrics")).text()
    assert 'lectern_admission_refused_total{cause="line"} 1.0' in figures
    without = await serve(sessions={"max_sessions": 1, "max_waiting": 0})
    await without.session()
    await problem(await without.client.post("/v1/sessions", json=WAIT), 503, "at_capacity")


async def test_leaving_the_line_lets_the_others_move_up(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    await server.session()
    first, second = await waiting(server), await waiting(server)
    one = await server.client.ws_connect(first["engine_url"])
    two = await server.client.ws_connect(second["engine_url"])
    assert (await heard(two, "queue_position"))["position"] == 2
    await end(server, first)
    assert (await heard(one, "session_ended"))["reason"] == "deleted"
    assert (await heard(two, "queue_position"))["position"] == 1
    assert len(server.lives) == 1


async def test_a_place_is_kept_by_being_connected(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"max_sessions": 1, "first_seconds": 1000})
    talking = await server.session()
    there = await server.client.ws_connect(talking["engine_url"])
    gone, read, here = await waiting(server), await waiting(server), await waiting(server)
    reader = await follow(server, read["session_id"])
    socket = await server.client.ws_connect(here["engine_url"])
    await heard(socket, "queue_position")
    clock.forward(server, 1001)
    lost = server.sessions.get(gone["session_id"])
    await until(lambda: lost.ended)
    assert lost.live is None
    assert server.sessions.waiting == 2
    await socket.close()
    reader.answer.close()
    left = server.sessions.get(here["session_id"])
    await until(lambda: server.sessions.connected(left) == 0)
    clock.forward(server, 1001)
    await until(lambda: left.ended)
    await there.close()


async def test_a_session_that_cannot_start_is_told_and_the_next_one_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    unlucky, gone, lucky = await waiting(server), await waiting(server), await waiting(server)
    socket = await server.client.ws_connect(unlucky["engine_url"])
    reader = await follow(server, gone["session_id"], 0)
    opened = server.sessions._lives._open

    async def fails(session: Session) -> Any:
        if session.id == unlucky["session_id"]:
            raise RuntimeError("a secret of the engine")
        if session.id == gone["session_id"]:
            session.avatar_id = "nobody"
        return await opened(session)

    monkeypatch.setattr(server.sessions._lives, "_open", fails)
    await end(server, talking)
    error = await heard(socket, "error")
    assert error["code"] == "internal_error"
    assert "secret" not in str(error)
    assert (await heard(socket, "session_ended"))["reason"] == "not_started"
    told = []
    while (event := await reader.next()) is not None:
        told.append(event[1])
    assert [each.get("code") for each in told if each["type"] == "error"] == ["not_found"]
    assert told[-1] == {"type": "session_ended", "reason": "not_started"}
    session = server.sessions.get(lucky["session_id"])
    await until(lambda: session.live is not None)
    assert (server.sessions.awake, server.sessions.waiting) == (1, 0)


async def test_one_that_slept_can_wait_for_a_seat_and_keeps_what_was_said(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1, "leave_seconds": 0.0})
    mine = await server.session()
    socket = await server.client.ws_connect(mine["engine_url"])
    await socket.send_json({"type": "text", "text": "Remember me."})
    await heard(socket, "speech_started")
    session = server.sessions.get(mine["session_id"])
    history = session.history
    await socket.close()
    await until(lambda: session.live is None)
    other = await server.session()
    with pytest.raises(WSServerHandshakeError) as refused:
        await server.client.ws_connect(mine["engine_url"])
    assert refused.value.status == 503
    socket = await server.client.ws_connect(f"{mine['engine_url']}&wait=1")
    assert (await heard(socket, "queue_position"))["position"] == 1
    await end(server, other)
    await heard(socket, "session_ready")
    assert session.history is history
    await socket.send_json({"type": "say", "text": "Here I am again."})
    await heard(socket, "speech_started")


async def test_a_drain_tells_who_waits_and_lets_the_others_go_on(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    first = await waiting(server)
    socket = await server.client.ws_connect(first["engine_url"])
    await heard(socket, "queue_position")
    server.sessions.refuse_new("draining", "This server is being stopped.")
    error = await heard(socket, "error")
    assert (error["code"], error["message"]) == ("draining", "This server is being stopped.")
    assert (await heard(socket, "session_ended"))["reason"] == "draining"
    await problem(await server.client.post("/v1/sessions", json=WAIT), 503, "draining")
    answer = await server.client.post(f"/v1/sessions/{talking['session_id']}/say", json={"text": "I go on."})
    assert answer.status == 202


async def test_rtvi_clients_wait_as_well(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    talking = await server.session()
    answer = await server.client.post("/v1/rtvi/start", json={"body": WAIT})
    body = await answer.json()
    assert (answer.status, body["status"], body["position"]) == (202, "waiting", 1)
    path = f"/v1/rtvi/sessions/{body['sessionId']}/api/offer"
    viewer = AiortcViewer()
    try:
        offer = {"sdp": await viewer.offer(), "type": "offer"}
        await problem(await server.client.post(path, json=offer), 503, "waiting")
        await end(server, talking)
        session = server.sessions.get(body["sessionId"])
        await until(lambda: session.live is not None)
        assert (await server.client.post(path, json=offer)).status == 200
    finally:
        await viewer.close()


async def test_more_seats_at_run_time_let_people_in(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    await server.session()
    first = await waiting(server)
    server.sessions.set_limits(replace(server.sessions.limits, max_sessions=2))
    session = server.sessions.get(first["session_id"])
    await until(lambda: session.live is not None)


async def test_who_waits_for_the_machine_comes_in_when_it_has_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    await server.session()
    busy = Refusal("the server is as busy as it may be", 10, "cpu")
    load = server.sessions._gate._load
    monkeypatch.setattr(load, "overload", lambda *_: busy)
    answer = await server.client.post("/v1/sessions", json={**WAIT, "wait": False})
    assert (await problem(answer, 503, "at_capacity"))["cause"] == "cpu"
    assert answer.headers["Retry-After"] == "10"
    assert 'lectern_admission_refused_total{cause="cpu"} 1.0' in await (await server.client.get("/metrics")).text()
    first = await waiting(server)
    monkeypatch.setattr(load, "overload", lambda *_: None)
    session = server.sessions.get(first["session_id"])
    await until(lambda: session.live is not None)  # without anything else that happened
