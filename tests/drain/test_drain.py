"""Out of service over HTTP: nobody new, everybody told, and back again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import ClientWebSocketResponse

from server.keys import DRAIN
from tests.server.conftest import Running, Serve, problem

LIMIT = 10.0


async def events_until(socket: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if message["type"] == kind:
                return message


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 - a pretended session tells nobody that it was closed
        await asyncio.sleep(0.01)


async def readiness(server: Running) -> tuple[int, dict[str, Any]]:
    answer = await server.client.get("/readyz")
    return answer.status, (await answer.json())["checks"]["serving"]


async def test_nobody_new_comes_and_those_there_are_told(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    async with server.client.ws_connect(made["engine_url"]) as socket:
        answer = await server.client.post("/v1/admin/drain", json={"seconds": 600})
        assert answer.status == 200
        state = await answer.json()
        assert (state["draining"], state["stopping"], state["running"]) == (True, False, 1)
        assert 590 <= state["seconds_left"] <= 600
        told = await events_until(socket, "server_draining")
        assert 590 <= told["seconds"] <= 600

        answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s2"})
        refused = await problem(answer, 503, "draining")
        assert int(answer.headers["Retry-After"]) == refused["retry_after"] >= 590
        status, serving = await readiness(server)
        assert status == 503
        assert not serving["ok"]
        assert "1 run, for " in serving["detail"]

        answer = await server.client.post(f"/v1/sessions/{made['session_id']}/say", json={"text": "It goes on."})
        assert answer.status == 202

        answer = await server.client.delete("/v1/admin/drain")
        assert (await answer.json())["draining"] is False
        assert (await events_until(socket, "session_continues"))["reason"] == "draining"
    assert (await readiness(server))[0] == 200
    await server.session()


async def test_without_an_end_they_go_on_as_they_like(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    async with server.client.ws_connect(made["engine_url"]) as socket:
        state = await (await server.client.post("/v1/admin/drain")).json()
        assert (state["draining"], state["seconds_left"]) == (True, None)
        assert (await events_until(socket, "server_draining"))["seconds"] is None
        shown = await (await server.client.get("/v1/admin/drain")).json()
        assert shown == state


async def test_when_time_is_up_the_rest_is_ended_and_the_server_stays(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    async with server.client.ws_connect(made["engine_url"]) as socket:
        await server.client.post("/v1/admin/drain", json={"seconds": 600})
        await server.client.post("/v1/admin/drain", json={"seconds": 0})  # another end
        assert (await events_until(socket, "session_ended"))["reason"] == "draining"
    assert server.lives[0].closed
    assert (await server.client.get("/livez")).status == 200
    answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s2"})
    await problem(answer, 503, "draining")


async def test_a_sleeping_session_does_not_wake(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0})
    made = await server.session()
    async with server.client.ws_connect(made["engine_url"]):
        pass
    async with asyncio.timeout(LIMIT):
        await until(lambda: server.lives[0].closed)
    await server.client.post("/v1/admin/drain")
    answer = await server.client.post(f"/v1/sessions/{made['session_id']}/say", json={"text": "Hello."})
    await problem(answer, 503, "draining")


async def test_a_stop_is_not_taken_back(serve: Serve) -> None:
    server = await serve()
    server.app[DRAIN].start(600, stopping=True)
    await problem(await server.client.delete("/v1/admin/drain"), 409, "stopping")
    state = await (await server.client.post("/v1/admin/drain", json={"seconds": 10})).json()
    assert state["stopping"] is True
    assert state["seconds_left"] <= 10


async def test_who_may(serve: Serve) -> None:
    server = await serve(server={"api_key": "the-key-of-an-admin"})
    for method in ("GET", "POST", "DELETE"):
        await problem(await server.client.request(method, "/v1/admin/drain"), 401, "unauthorized")
    assert not server.app[DRAIN].state.draining


async def test_a_wrong_number_is_refused(serve: Serve) -> None:
    server = await serve()
    for seconds in (-1, "soon", True, 1e9):
        answer = await server.client.post("/v1/admin/drain", json={"seconds": seconds})
        await problem(answer, 422, "invalid_request")
    assert not server.app[DRAIN].state.draining
