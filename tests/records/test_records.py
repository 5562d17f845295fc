"""What is kept of sessions, over HTTP: figures, a student's transcripts, and that a student can be deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from yarl import URL

from pipeline.events import Transcription
from server.keys import RECORDS
from server.records.sessions import Turn, Wanted
from server.session import Typed
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, problem


@pytest.fixture
async def server(serve: Serve, url: str) -> Running:
    return await serve(records={"database_url": url})


async def get(server: Running, url: str | URL) -> dict[str, Any]:
    answer = await server.client.get(url)
    assert answer.status == 200, await answer.text()
    body: dict[str, Any] = await answer.json()
    return body


async def talked(server: Running, student: str, question: str, *, end: bool = True, **more: Any) -> str:
    """A session in which a student asked something and heard the answer; its id."""
    made = await server.session(student_id=student, **more)
    session_id: str = made["session_id"]
    url = f"/v1/sessions/{session_id}"
    assert (await server.client.post(f"{url}/ask", json={"text": question})).status == 202
    live = server.lives[-1]
    await until(lambda: bool(live.said))
    live.finish()
    if end:
        assert (await server.client.delete(url)).status == 204
    return session_id


async def test_a_transcript_is_there_when_the_session_has_ended(server: Running) -> None:
    session_id = await talked(server, "s1", "Why is the sky blue?")
    body = await get(server, "/v1/students/s1/transcripts")
    assert (body["total"], body["limit"], body["offset"], body["retention_days"]) == (2, 50, 0, 30)
    assert [(turn["who"], turn["text"], turn["interrupted"]) for turn in body["items"]] == [
        ("student", "Why is the sky blue?", False),
        ("tutor", "all of it", False),
    ]
    assert {turn["session_id"] for turn in body["items"]} == {session_id}
    assert body["items"][0]["at"] <= body["items"][1]["at"]
    assert body["items"][0]["at"].endswith("+00:00")


async def test_what_was_spoken_is_in_it_too(server: Running) -> None:
    made = await server.session()
    session = server.sessions.get(made["session_id"])
    session.emit(Transcription("s1", "What is", final=False))
    session.emit(Transcription("s1", "What is a cell?", final=True))
    body = await get(server, "/v1/students/s1/transcripts")
    assert [turn["text"] for turn in body["items"]] == ["What is a cell?"]


async def test_transcripts_in_pages_and_by_session(server: Running) -> None:
    first = await talked(server, "s1", "one", tutor_id="t-ada")
    second = await talked(server, "s1", "two")
    await talked(server, "s2", "other")
    url = "/v1/students/s1/transcripts"
    page = await get(server, f"{url}?limit=2&offset=1")
    assert (page["total"], [turn["text"] for turn in page["items"]]) == (4, ["all of it", "two"])
    only = await get(server, f"{url}?session_id={second}")
    assert [turn["text"] for turn in only["items"]] == ["two", "all of it"]
    assert (await get(server, f"{url}?tutor_id=t-ada"))["items"][0]["session_id"] == first
    assert (await get(server, f"{url}?student_id=s2"))["total"] == 4  # the address counts
    for unknown in ("/v1/students/nobody/transcripts", "/v1/students/%00/transcripts"):
        assert (await get(server, URL(unknown, encoded=True)))["total"] == 0
    await problem(await server.client.get(f"{url}?limit=1000"), 422, "invalid_request")


async def test_sessions_that_were(server: Running) -> None:
    first = await talked(server, "s1", "one", tutor_id="t-ada", kb_id="kb")
    second = await talked(server, "s2", "two", end=False)
    body = await get(server, "/v1/records/sessions")
    assert [(item["session_id"], item["status"], item["end_reason"]) for item in body["items"]] == [
        (second, "running", None),
        (first, "ended", "deleted"),
    ]
    ended = body["items"][1]
    assert (ended["student_id"], ended["tutor_id"], ended["avatar_id"], ended["kb_id"], ended["turns"]) == (
        "s1",
        "t-ada",
        "ada",
        "kb",
        2,
    )
    assert ended["quality"]["utterances"] == 1
    assert ended["started_at"] <= ended["ended_at"]
    assert ended["seconds"] >= 0

    async def found(query: str) -> list[str]:
        body = await get(server, f"/v1/records/sessions{query}")
        return [item["session_id"] for item in body["items"]]

    assert await found("?student_id=s2") == [second]
    assert await found("?tutor_id=t-ada") == [first]
    assert await found(f"?session_id={first}") == [first]
    assert await found("?limit=1&offset=1") == [first]
    assert await found("?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00%2B02:00") == []
    assert await found("?since=2020-01-01") == [second, first]
    assert await found("?tutor_id=%00") == []
    for query in ("?since=yesterday", "?until=2026-13-01", "?since=0001-01-01T00:00:00%2B12:00", "?offset=x"):
        await problem(await server.client.get(f"/v1/records/sessions{query}"), 422, "invalid_request")


async def test_all_of_a_student_is_deleted_also_what_is_said_right_now(server: Running) -> None:
    await talked(server, "s1", "one")
    await talked(server, "s2", "other")
    running = await talked(server, "s1", "two", end=False)
    server.sessions.get(running).note(Typed("a secret"))
    answer = await server.client.delete("/v1/students/s1")
    assert (answer.status, await answer.json()) == (200, {"turns": 5, "sessions": 2, "ended": 1, "recordings": 0})
    await problem(await server.client.get(f"/v1/sessions/{running}"), 404, "session_not_found")
    assert (await get(server, "/v1/students/s1/transcripts"))["total"] == 0
    assert (await get(server, "/v1/records/sessions?student_id=s1"))["total"] == 0
    assert (await get(server, "/v1/students/s2/transcripts"))["total"] == 2
    kept = (await get(server, "/v1/records/sessions"))["items"]
    assert [(item["student_id"], item["turns"], item["end_reason"]) for item in kept] == [
        (None, 0, "student_deleted"),
        ("s2", 2, "deleted"),
        (None, 0, "deleted"),
    ]
    again = await server.client.delete("/v1/students/s1")
    assert await again.json() == {"turns": 0, "sessions": 0, "ended": 0, "recordings": 0}


async def test_nobody_begins_a_session_of_a_student_who_is_just_being_deleted(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that connects anew while its student is deleted."""
    await talked(server, "s1", "one")
    journal, forgetting, go_on = server.app[RECORDS].journal, asyncio.Event(), asyncio.Event()
    flush = journal.flush

    async def slow() -> None:
        forgetting.set()
        await go_on.wait()
        await flush()

    monkeypatch.setattr(journal, "flush", slow)
    deleting = asyncio.create_task(server.client.delete("/v1/students/s1"))
    await forgetting.wait()
    again = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s1"})
    go_on.set()
    assert (await deleting).status == 200
    await problem(again, 409, "student_being_deleted")
    assert again.headers["Retry-After"] == "5"
    later = await talked(server, "s1", "two")  # who comes afterwards can be deleted like anybody
    assert (await get(server, "/v1/students/s1/transcripts"))["items"][0]["session_id"] == later


async def test_a_server_ends_sessions_whose_student_another_one_has_deleted(serve: Serve, url: str) -> None:
    here = await serve(records={"database_url": url}, server={"port": 8001})
    there = await serve(records={"database_url": url}, server={"port": 8002})
    running = await talked(there, "s1", "one", end=False)
    other = await talked(there, "s2", "other", end=False)
    await there.app[RECORDS].journal.flush()
    assert (await (await here.client.delete("/v1/students/s1")).json())["turns"] == 2

    there.sessions.get(running).note(Typed("a secret"))
    await there.app[RECORDS].journal.flush()
    assert [turn.text for turn in await words(there, running)] == []
    await there.app[RECORDS].keeper.beat()
    await problem(await there.client.get(f"/v1/sessions/{running}"), 404, "session_not_found")
    kept = {item["session_id"]: item for item in (await get(there, "/v1/records/sessions"))["items"]}
    assert (kept[running]["student_id"], kept[running]["end_reason"]) == (None, "student_deleted")
    assert kept[other]["status"] == "running"
    assert len(await words(there, running)) == 0
    assert len(await words(there, other)) == 2


async def words(server: Running, session_id: str) -> list[Turn]:
    return (await server.app[RECORDS].sessions.turns(Wanted(session_id=session_id), limit=99, offset=0))[1]


async def test_a_students_recordings_are_deleted_too(serve: Serve) -> None:
    server = await serve()
    for student in ("s1", "s2"):
        made = await server.session(student_id=student)
        answer = await server.client.post(f"/v1/sessions/{made['session_id']}/recording")
        assert answer.status == 201, await answer.text()
    answer = await server.client.delete("/v1/students/s1")
    assert (await answer.json())["recordings"] == 1
    left = (await get(server, "/v1/recordings"))["items"]
    assert [recording["student_id"] for recording in left] == ["s2"]


async def test_sessions_that_never_started_are_no_open_ones(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(avatar: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(server.engine, "open", fail)
    answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s1"})
    await problem(answer, 500, "internal_error")
    (item,) = (await get(server, "/v1/records/sessions"))["items"]
    assert (item["status"], item["end_reason"], item["quality"]) == ("ended", "not_started", None)


async def test_stopping_the_server_ends_its_sessions_in_the_records(serve: Serve, url: str) -> None:
    server = await serve(records={"database_url": url})
    await talked(server, "s1", "one", end=False)
    await server.client.close()
    again = await serve(records={"database_url": url})
    (item,) = (await get(again, "/v1/records/sessions"))["items"]
    assert (item["status"], item["end_reason"], item["turns"]) == ("ended", "shutdown", 2)


async def test_without_retention_no_word_is_kept(serve: Serve) -> None:
    server = await serve(records={"retention_days": 0})
    await talked(server, "s1", "hush")
    body = await get(server, "/v1/students/s1/transcripts")
    assert (body["total"], body["retention_days"]) == (0, 0)
    assert (await get(server, "/v1/records/sessions"))["total"] == 1
    assert (await server.app[RECORDS].sessions.turns(Wanted(), limit=1, offset=0))[0] == 0
