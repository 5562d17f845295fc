"""Recordings over HTTP: begun, ended, shown, downloaded and deleted; who may; and what ends them."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.keys import RECORDER
from server.recorder import recorder as recording
from server.recorder.record import Record, write_record
from server.recorder.shelf import Shelf
from tests.recorder.films import read
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, problem


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LOOK_SECONDS", 0.05)


async def begin(server: Running, session_id: str) -> dict[str, Any]:
    answer = await server.client.post(f"/v1/sessions/{session_id}/recording")
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/recordings/{made['recording_id']}"
    return made


async def shown(server: Running, recording_id: str) -> dict[str, Any]:
    answer = await server.client.get(f"/v1/recordings/{recording_id}")
    assert answer.status == 200, await answer.text()
    body: dict[str, Any] = await answer.json()
    return body


async def filmed(server: Running, recording_id: str, seconds: float = 0.5) -> None:
    """Wait until so much of it is there."""
    shoot = next(each for each in server.app[RECORDER]._shoots.values() if each.record.id == recording_id)
    await until(lambda: shoot.film.seconds >= seconds)


async def until_state(server: Running, recording_id: str, state: str) -> dict[str, Any]:
    await until(lambda: server.app[RECORDER].find(recording_id).state == state)
    return await shown(server, recording_id)


async def test_a_recording_from_its_start_to_its_end(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    made = await server.session(student_id="s7")
    url = f"/v1/sessions/{made['session_id']}"
    assert (made["recording"], made["recording_id"]) == (False, None)

    begun = await begin(server, made["session_id"])
    assert (begun["state"], begun["student_id"], begun["content_type"]) == ("recording", "s7", "video/mp4")
    session = await (await server.client.get(url)).json()
    assert (session["recording"], session["recording_id"]) == (True, begun["recording_id"])
    await filmed(server, begun["recording_id"])
    running = await shown(server, begun["recording_id"])
    assert (running["state"], running["ended_at"]) == ("recording", None)

    answer = await server.client.delete(f"{url}/recording")
    done = await answer.json()
    assert (answer.status, done["state"], done["reason"]) == (200, "complete", "stopped")
    assert not (await (await server.client.get(url)).json())["recording"]
    assert done == await shown(server, begun["recording_id"])

    film = await server.client.get(done["file_url"])
    assert (film.status, film.content_type) == (200, "video/mp4")
    assert film.headers["Content-Disposition"].startswith('attachment; filename="')
    body = await film.read()
    assert len(body) == done["bytes"]
    (tmp_path / "film.mp4").write_bytes(body)
    seen = read(tmp_path / "film.mp4")
    assert seen.seconds == pytest.approx(done["seconds"], abs=0.05)
    assert len(seen.loud) > 10
    part = await server.client.get(done["file_url"], headers={"Range": "bytes=10-19"})
    assert (part.status, await part.read()) == (206, body[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(body)}"
    assert stat_mode(tmp_path / "recordings") == 0o700
    assert stat_mode(tmp_path / "recordings" / f"{begun['recording_id']}.mp4") == 0o600

    assert (await server.client.delete(f"/v1/recordings/{begun['recording_id']}")).status == 204
    await problem(await server.client.get(done["file_url"]), 404, "recording_not_found")
    assert list((tmp_path / "recordings").iterdir()) == []


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_session_that_is_recorded_from_its_beginning(serve: Serve) -> None:
    server = await serve(video={"codec": "vp8"})
    made = await server.session(recording=True)
    assert made["recording"]
    await filmed(server, made["recording_id"])
    await server.client.delete(f"/v1/sessions/{made['session_id']}")
    done = await until_state(server, made["recording_id"], "complete")
    assert (done["reason"], done["content_type"]) == ("session_ended", "video/webm")
    assert "webm" in read(server.app[RECORDER].shelf.folder / f"{made['recording_id']}.webm").format


async def test_who_asks_for_a_recording_gets_no_session_without_one(serve: Serve) -> None:
    server = await serve(recording={"enabled": False})
    body = {"avatar_id": "ada", "student_id": "s", "recording": True}
    await problem(await server.client.post("/v1/sessions", json=body), 503, "recording_off")
    assert server.sessions.all() == []
    made = await server.session()
    await problem(await server.client.post(f"/v1/sessions/{made['session_id']}/recording"), 503, "recording_off")
    assert (await (await server.client.get("/v1/recordings")).json())["total"] == 0


async def test_what_cannot_be_asked(serve: Serve) -> None:
    server = await serve()
    url = f"/v1/sessions/{(await server.session())['session_id']}/recording"
    await problem(await server.client.post("/v1/sessions/nobody/recording"), 404, "session_not_found")
    await problem(await server.client.delete(url), 409, "not_recording")
    begun = await begin(server, url.split("/")[3])
    await problem(await server.client.post(url), 409, "already_recording")
    await problem(await server.client.delete(f"/v1/recordings/{begun['recording_id']}"), 409, "recording_running")
    await problem(await server.client.get("/v1/recordings/nobody"), 404, "recording_not_found")
    await problem(await server.client.get("/v1/recordings/..%2f..%2fetc%2fpasswd/file"), 404, "recording_not_found")
    await problem(await server.client.get("/v1/recordings?limit=0"), 422, "invalid_request")
    await problem(await server.client.get("/v1/recordings?offset=x"), 422, "invalid_request")


async def test_two_starts_at_once_make_one_recording(serve: Serve) -> None:
    server = await serve()
    url = f"/v1/sessions/{(await server.session())['session_id']}/recording"
    answers = await asyncio.gather(*(server.client.post(url) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    assert (await (await server.client.get("/v1/recordings")).json())["total"] == 1


async def test_the_student_is_told(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    async with server.client.ws_connect(made["engine_url"]) as socket:
        await socket.send_json({"type": "init"})
        assert (await socket.receive_json(timeout=10))["recording"] is False
        begun = await begin(server, made["session_id"])
        told = await socket.receive_json(timeout=10)
        assert told == {"type": "recording_started", "recording_id": begun["recording_id"]}
        async with server.client.ws_connect(made["engine_url"]) as late:
            await late.send_json({"type": "init"})
            assert (await late.receive_json(timeout=10))["recording"] is True
        await server.client.delete(f"/v1/sessions/{made['session_id']}/recording")
        told = await socket.receive_json(timeout=10)
        assert told == {"type": "recording_stopped", "recording_id": begun["recording_id"], "reason": "stopped"}


async def test_a_session_that_slept_is_recorded_on(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0})
    made = await server.session(recording=True)
    async with server.client.ws_connect(made["engine_url"]):
        await filmed(server, made["recording_id"], 0.5)
    await until(lambda: server.lives[0].closed)
    session = server.sessions.get(made["session_id"])
    await until(lambda: session.live is None)
    (shoot,) = server.app[RECORDER]._shoots.values()
    before = shoot.film.seconds
    async with server.client.ws_connect(made["engine_url"]):
        await filmed(server, made["recording_id"], before + 0.5)
    done = await (await server.client.delete(f"/v1/sessions/{made['session_id']}/recording")).json()
    assert done["state"] == "complete"
    film = read(server.app[RECORDER].shelf.folder / f"{made['recording_id']}.mp4")
    assert film.seconds == pytest.approx(done["seconds"], abs=0.05)
    assert len(server.lives) == 2


@pytest.mark.parametrize(
    ("setting", "reason"), [({"max_seconds": 1.0}, "too_long"), ({"max_gb": 20e3 / 1e9}, "no_room")]
)
async def test_what_ends_a_recording(serve: Serve, setting: dict[str, float], reason: str) -> None:
    server = await serve(recording=setting)
    made = await server.session(recording=True)
    async with server.client.get(f"/v1/sessions/{made['session_id']}/events?last_event_id=0") as events:
        done = await until_state(server, made["recording_id"], "complete")
        assert done["reason"] == reason
        text = (await asyncio.wait_for(events.content.readuntil(b"recording_stopped\ndata: "), 10)).decode()
        text += (await asyncio.wait_for(events.content.readline(), 10)).decode()
        assert f'"reason": "{reason}"' in text
    answer = await server.client.post(f"/v1/sessions/{made['session_id']}/recording")
    if reason == "no_room":
        await problem(answer, 507, "recordings_full")
    else:
        assert answer.status == 201


async def test_a_disk_that_fills_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve(recording={"least_free_gb": 1.0})
    made = await server.session(recording=True)
    await filmed(server, made["recording_id"])
    monkeypatch.setattr(Shelf, "free", lambda shelf: 999_999_999)
    done = await until_state(server, made["recording_id"], "complete")
    assert done["reason"] == "disk_full"
    assert read(server.app[RECORDER].shelf.folder / f"{made['recording_id']}.mp4").seconds > 0.4
    await problem(await server.client.post(f"/v1/sessions/{made['session_id']}/recording"), 507, "disk_full")


async def test_a_folder_that_cannot_be_written_to(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = await serve(recording={"dir": tmp_path / "file" / "recordings"})
    made = await server.session()
    answer = await server.client.post(f"/v1/sessions/{made['session_id']}/recording")
    await problem(answer, 503, "recording_unavailable")
    await server.session(avatar_id="ada")


Put = Callable[..., Record]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """`put("id", student_id="s1", …)`: a recording that is there when the server starts."""
    shelf = Shelf(tmp_path / "recordings")

    def make(name: str, film: bytes = b"film", **more: Any) -> Record:
        given = {
            "session_id": "s",
            "student_id": "s1",
            "tutor_id": "ada",
            "avatar_id": "ada",
            "format": "mp4",
            "state": "complete",
            "started_at": datetime.now(UTC),
            "ended_at": datetime.now(UTC),
            "bytes": len(film),
            **more,
        }
        record = Record.model_validate({"id": name, **given})
        os.close(shelf.begin(record))
        shelf.film(record).write_bytes(film)
        return record

    return make


async def test_what_a_kill_left_is_mended_at_the_next_start(serve: Serve, put: Put, tmp_path: Path) -> None:
    server = await serve()
    made = await server.session(recording=True)
    await filmed(server, made["recording_id"], 2.5)
    folder = tmp_path / "recordings"
    shutil.copytree(folder, tmp_path / "killed")  # as it lies on the disk while it is written
    await server.client.close()
    shutil.rmtree(folder)
    (tmp_path / "killed").rename(folder)
    put("empty", b"", state="recording")
    again = await serve()
    done = await until_state(again, made["recording_id"], "cut_off")
    assert done["reason"] == "killed"
    film = read(folder / f"{made['recording_id']}.mp4")
    assert 1.9 < film.seconds == pytest.approx(done["seconds"], abs=0.05)
    assert (await again.client.get(done["file_url"])).status == 200
    await until_state(again, "empty", "cut_off")
    await problem(await again.client.get("/v1/recordings/empty/file"), 404, "recording_empty")


async def test_the_list_is_filtered_and_paged(serve: Serve, put: Put) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=2)
    for n in range(7):
        put(f"r{n}", student_id="s2" if n % 2 else "s1", session_id=f"s{n}", started_at=long_ago + timedelta(hours=n))
    server = await serve()

    async def ids(query: str) -> tuple[list[str], int]:
        body = await (await server.client.get(f"/v1/recordings?{query}")).json()
        return [each["recording_id"] for each in body["items"]], body["total"]

    assert await ids("") == ([f"r{n}" for n in range(6, -1, -1)], 7)
    assert await ids("student_id=s2&limit=2") == (["r5", "r3"], 3)
    assert await ids("student_id=s2&limit=2&offset=2") == (["r1"], 3)
    assert await ids("session_id=s4") == (["r4"], 1)
    assert await ids("tutor_id=nobody") == ([], 0)
    assert (await (await server.client.get("/v1/recordings")).json())["bytes"] == 28


async def test_what_was_kept_long_enough_goes(serve: Serve, put: Put, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    put("old", ended_at=now - timedelta(days=31))
    put("new", ended_at=now - timedelta(days=29))
    server = await serve(recording={"retention_days": 30})
    await until(lambda: [record.id for record in server.app[RECORDER].all()] == ["new"])
    assert sorted(path.name for path in (tmp_path / "recordings").iterdir()) == ["new.json", "new.mp4"]


async def test_a_students_recordings_are_deleted_running_ones_too(serve: Serve, put: Put, tmp_path: Path) -> None:
    put("theirs", student_id="s1")
    put("others", student_id="s2")
    server = await serve()
    made = await server.session(student_id="s1", recording=True)
    await filmed(server, made["recording_id"])
    assert await server.app[RECORDER].delete_of_student("s1") == 2
    assert {path.stem for path in (tmp_path / "recordings").iterdir()} == {"others"}
    assert not (await (await server.client.get(f"/v1/sessions/{made['session_id']}")).json())["recording"]


class Slow:
    """A shelf whose disk waits at one of its methods until a test lets it go on."""

    def __init__(self, shelf: Shelf, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        real = getattr(shelf, method)

        def slow(record: Record) -> Any:
            self.reached.set()
            assert self.go_on.wait(20)
            return real(record)

        monkeypatch.setattr(shelf, method, slow)


async def test_a_recording_that_is_just_being_ended_does_not_come_back(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    made = await server.session(student_id="s1", recording=True)
    disk = Slow(server.app[RECORDER].shelf, "save", monkeypatch)
    await server.sessions.end(server.sessions.get(made["session_id"]), "student_deleted")
    await until(disk.reached.is_set)
    deleting = asyncio.create_task(server.app[RECORDER].delete_of_student("s1"))
    await asyncio.wait({deleting}, timeout=0.2)
    disk.go_on.set()
    assert await deleting == 1
    await until(lambda: not server.app[RECORDER]._tasks)
    assert list((tmp_path / "recordings").iterdir()) == []


async def test_a_recording_that_is_just_beginning_is_deleted_too(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    made = await server.session(student_id="s1")
    disk = Slow(server.app[RECORDER].shelf, "begin", monkeypatch)
    url = f"/v1/sessions/{made['session_id']}/recording"
    beginning = asyncio.create_task(server.client.post(url))
    await until(disk.reached.is_set)
    deleting = asyncio.create_task(server.client.delete("/v1/students/s1"))
    await asyncio.wait({deleting}, timeout=0.2)
    disk.go_on.set()
    assert (await deleting).status == 200
    await problem(await beginning, 404, "session_not_found")
    assert list((tmp_path / "recordings").iterdir()) == []
    assert (await (await server.client.get("/v1/recordings")).json())["total"] == 0


async def test_what_a_kill_left_of_a_record_goes(serve: Serve, put: Put, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    put("whole")
    busy = Shelf(folder)
    handle = busy.begin(put("other").model_copy(update={"id": "writing", "state": "recording"}))
    for name in ("whole", "gone", "writing"):
        (folder / f"{name}.part").write_text('{"student_id": "s1"')
    await serve()
    assert [path.name for path in folder.glob("*.part")] == ["writing.part"]
    os.close(handle)


async def test_a_deletion_that_was_cut_off_is_finished_and_other_files_are_left_alone(
    serve: Serve, put: Put, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    (folder / put("half").film).unlink()
    (folder / "note.json").write_text("{}")
    write_record(folder / "other.json", put("whole"))
    server = await serve()
    assert [record.id for record in server.app[RECORDER].all()] == ["whole"]
    assert {path.name for path in folder.iterdir()} == {"note.json", "other.json", "whole.json", "whole.mp4"}


async def test_figures(serve: Serve) -> None:
    server = await serve()
    made = await server.session(recording=True)
    await filmed(server, made["recording_id"])

    async def figures() -> dict[str, float]:
        text = await (await server.client.get("/metrics")).text()
        mine = ("lectern_recordings", "lectern_outputs")
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(mine)]
        return {name: float(value) for name, _, value in lines}

    assert (await figures())["lectern_recordings_running"] == 1
    done = await (await server.client.delete(f"/v1/sessions/{made['session_id']}/recording")).json()
    after = await figures()
    assert (after["lectern_recordings_running"], after["lectern_recordings_bytes"]) == (0, done["bytes"])
    assert after['lectern_recordings_ended_total{reason="stopped"}'] == 1
    assert after['lectern_outputs{state="live"}'] == 0
