"""A session's events as server-sent events: numbered, resumed, bounded, and over when the session is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse

from pipeline.events import Caption, ProcessingStatus
from server import session_events
from server.event_ring import EventRing
from tests.rtc.clients import LIMIT, until
from tests.server.conftest import Running, Serve, problem


class Reader:
    """Reads server-sent events as a browser does."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.comments = 0

    async def next(self) -> tuple[int | None, dict[str, Any]] | None:
        """The next event's id and data; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(LIMIT):
            while line := (await self.answer.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n" and "data" in fields:
                    data = json.loads(fields["data"])
                    assert data["type"] == fields["event"]
                    return int(fields["id"]) if "id" in fields else None, data
                if line.startswith(":"):
                    self.comments += 1
                elif line != "\n":
                    fields[name] = value
        return None

    async def some(self, count: int) -> list[tuple[int | None, dict[str, Any]]]:
        found = [await self.next() for _ in range(count)]
        return [each for each in found if each is not None]


async def follow(server: Running, session_id: str, last: int | str | None = None) -> Reader:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    answer = await server.client.get(f"/v1/sessions/{session_id}/events", headers=headers)
    assert answer.status == 200, await answer.text()
    assert answer.content_type == "text/event-stream"
    return Reader(answer)


def caption(index: int) -> Caption:
    return Caption("u", index, f"word{index}", float(index), index + 0.5)


def test_a_ring_keeps_the_newest_and_counts_what_is_gone() -> None:
    ring = EventRing(3)
    assert ring.after(0).events == []
    for index in range(5):
        ring.put(caption(index))
    page = ring.after(1)
    assert (page.missed, page.before, [each.id for each in page.events]) == (1, 2, [3, 4, 5])
    assert (ring.after(5).missed, ring.after(5).events) == (0, [])
    assert ring.after(99) == ring.after(0), "a number that was never given"
    assert EventRing().after(7).missed == 0


async def test_the_same_events_as_the_websocket_with_rising_ids(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    reader = await follow(server, made["session_id"])
    await socket.send_json({"type": "text", "text": "What is a verb?"})
    from_socket = []
    async with asyncio.timeout(30):
        while len(from_socket) < 4:
            message = await socket.receive_json()
            if "request_id" not in message:
                from_socket.append(message)
    events = await reader.some(4)
    assert [data for _, data in events] == from_socket
    ids = [number for number, _ in events]
    assert ids == list(range(ids[0] or 0, (ids[0] or 0) + 4))
    await socket.close()


async def test_a_reader_that_comes_back_misses_nothing(serve: Serve) -> None:
    server = await serve()
    session = server.sessions.get((await server.session())["session_id"])
    reader = await follow(server, session.id, 0)
    for index in range(3):
        session.emit(caption(index))
    (first, _), *_ = await reader.some(3)
    reader.answer.close()
    session.emit(caption(3))
    again = await follow(server, session.id, first)
    assert [data["index"] for _, data in await again.some(3)] == [1, 2, 3]
    answer = await server.client.get(f"/v1/sessions/{session.id}/events?last_event_id=3")
    assert ((await Reader(answer).next()) or (0, {}))[1]["index"] == 3
    new = await follow(server, session.id)
    session.emit(ProcessingStatus("thinking"))
    assert (await new.some(1))[0][1] == {"type": "processing_status", "status": "thinking"}


async def test_a_gap_is_told_and_its_id_resumes_behind_it(serve: Serve) -> None:
    server = await serve()
    session = server.sessions.get((await server.session())["session_id"])
    session.events = EventRing(4)
    for index in range(10):
        session.emit(caption(index))
    reader = await follow(server, session.id, 2)
    (number, gap), (following, data) = await reader.some(2)
    assert (number, gap) == (6, {"type": "gap", "missed": 4})
    assert (following, data["index"]) == (7, 6)
    again = await follow(server, session.id, number)
    assert (await again.some(1))[0][0] == 7


async def test_the_stream_ends_with_the_session(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    reader = await follow(server, made["session_id"])
    await server.client.delete(f"/v1/sessions/{made['session_id']}")
    assert await reader.next() == (1, {"type": "session_ended", "reason": "deleted"})
    assert await reader.next() is None
    gone = await server.client.get(f"/v1/sessions/{made['session_id']}/events", headers={"Last-Event-ID": "1"})
    await problem(gone, 404, "session_not_found")


async def test_a_stopping_server_lets_go_of_its_readers_at_once(serve: Serve) -> None:
    server = await serve()
    reader = await follow(server, (await server.session())["session_id"])
    async with asyncio.timeout(30):
        closing = asyncio.create_task(server.client.server.close())
        assert await reader.next() == (1, {"type": "session_ended", "reason": "shutdown"})
        await closing


async def test_silence_is_broken_by_heartbeats_and_keeps_no_session_awake(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_events, "HEARTBEAT_SECONDS", 0.05)
    server = await serve(sessions={"leave_seconds": 0.0, "timeout_seconds": 0.5})
    made = await server.session()
    reader = await follow(server, made["session_id"])
    reading = asyncio.create_task(reader.next())
    await until(lambda: reader.comments >= 2)
    server.sessions.set_limits(replace(server.sessions.limits, first=0.0))
    assert await reading == (1, {"type": "session_ended", "reason": "never_joined"})


async def test_a_reader_that_left_is_forgotten(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "HEARTBEAT_SECONDS", 0.05)
    server = await serve()
    session = server.sessions.get((await server.session())["session_id"])
    reader = await follow(server, session.id)
    assert session.events.watchers == 1
    reader.answer.close()
    await until(lambda: session.events.watchers == 0)


async def test_a_reader_that_does_not_read_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "SEND_SECONDS", 0.3)
    server = await serve()
    session = server.sessions.get((await server.session())["session_id"])
    _, writer = await asyncio.open_connection(server.client.host, server.client.port, limit=1024)
    writer.write(f"GET /v1/sessions/{session.id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await until(lambda: session.events.watchers == 1)
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    for index in range(600):
        session.emit(Caption("u", index, "a" * 50_000, 0.0, 0.1))
    await until(lambda: session.events.watchers == 0)
    writer.transport.abort()


async def test_readers_of_a_session_are_bounded(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    readers = [await follow(server, made["session_id"]) for _ in range(session_events.MOST_READERS)]
    refused = await server.client.get(f"/v1/sessions/{made['session_id']}/events")
    assert refused.headers["Retry-After"]
    await problem(refused, 429, "too_many_readers")
    for reader in readers:
        reader.answer.close()


@pytest.mark.parametrize("given", ["-1", "one", "1" * 19, "٣", "1.5"])
async def test_a_last_event_id_that_is_none(serve: Serve, given: str) -> None:
    server = await serve()
    path = f"/v1/sessions/{(await server.session())['session_id']}/events"
    await problem(await server.client.get(path, params={"last_event_id": given}), 400, "bad_request")


async def test_reading_needs_the_sessions_own_token_where_there_is_a_key(serve: Serve) -> None:
    server = await serve(server={"api_key": "k"})
    key = {"Authorization": "Bearer k"}
    body = {"avatar_id": "ada", "student_id": "s"}
    mine, other = [await (await server.client.post("/v1/sessions", json=body, headers=key)).json() for _ in range(2)]
    path = f"/v1/sessions/{mine['session_id']}/events"
    await problem(await server.client.get(path), 401, "unauthorized")
    wrong = {"Authorization": f"Bearer {other['engine_token']}"}
    await problem(await server.client.get(path, headers=wrong), 401, "wrong_token")
    for headers in (key, {"Authorization": f"Bearer {mine['engine_token']}"}):
        answer = await server.client.get(path, headers=headers)
        assert answer.status == 200
        answer.close()
    assert (await server.client.get(f"{path}?token={mine['engine_token']}")).status == 200
