"""/v1/admin/: what an operator sees of a running server, and does to it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
import pytest

from avatars.record import AvatarRecord, Problem
from avatars.store import write_record
from avatars.usage import MARK
from pipeline.voices.voice import VoiceError
from server import parts
from server.keys import VOICES
from server.sample import SAMPLE_ID
from tests.operator.fakes import until
from tests.server.conftest import Running, Serve, add_ready, problem

KEY = "operators-key-0123456789"
DAY = 86_400.0


async def get(running: Running, path: str) -> Any:
    answer = await running.client.get(f"/v1/admin/{path}")
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_every_address_needs_the_key(serve: Serve) -> None:
    running = await serve(server={"api_key": KEY})
    addresses = {
        (route.method, route.resource.canonical)
        for route in running.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/v1/admin/") and route.method != "HEAD"
    }
    assert len(addresses) >= 11
    for method, path in addresses:
        answer = await running.client.request(method, path.replace("{session_id}", "x"))
        await problem(answer, 401, "unauthorized")


async def test_sessions_with_their_figures_and_stop(serve: Serve) -> None:
    running = await serve()
    made = await running.session()
    (row,) = (await get(running, "sessions"))["sessions"]
    assert row["session_id"] == made["session_id"]
    assert row["status"] == "ready"
    assert row["doing"] == "idle"
    assert row["picture"]
    assert row["figures"]["mouths_late"] == 0
    assert row["figures"]["rtt_ms"] is None
    assert made["engine_token"] not in str(row)
    assert await get(running, f"sessions/{made['session_id']}")

    socket = await running.client.ws_connect(made["engine_url"])
    assert (await running.client.delete(f"/v1/admin/sessions/{made['session_id']}")).status == 204
    told = await socket.receive_json(timeout=10)  # its student hears of it
    assert told == {"type": "session_ended", "reason": "stopped_by_operator"}
    assert (await socket.receive(timeout=10)).data == 1001
    assert (await get(running, "sessions"))["total"] == 0
    text = await (await running.client.get("/metrics")).text()
    assert 'lectern_sessions_ended_total{reason="stopped_by_operator"} 1.0' in text
    await problem(await running.client.delete(f"/v1/admin/sessions/{made['session_id']}"), 404, "session_not_found")


async def test_a_session_names_its_tutor(serve: Serve) -> None:
    running = await serve()
    answer = await running.client.post("/v1/tutors", json={"id": "t-1", "name": "Ada Lovelace", "avatar_id": "ada"})
    assert answer.status == 201, await answer.text()
    made = await running.session(tutor_id="t-1")
    (row,) = (await get(running, "sessions"))["sessions"]
    assert (row["tutor_id"], row["tutor_name"]) == ("t-1", "Ada Lovelace")
    assert (await get(running, f"sessions/{made['session_id']}"))["tutor_name"] == "Ada Lovelace"


async def test_a_thumbnail_is_the_picture_of_the_moment_once_a_second(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await serve()
    made = await running.session()
    path = f"/v1/admin/sessions/{made['session_id']}/thumbnail.jpg"
    answer = await running.client.get(path)
    assert answer.status == 200
    assert answer.content_type == "image/jpeg"
    first = await answer.read()
    picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[:2] == (48, 64)  # never enlarged

    drawn = []
    monkeypatch.setattr("server.admin.pictures.draw", lambda live, shown: drawn.append(1) or b"new")
    monkeypatch.setattr("server.admin.pictures.FRESH_SECONDS", 60.0)  # however long the next call takes
    assert await (await running.client.get(path)).read() == first
    assert not drawn
    await running.sessions.end(running.sessions.get(made["session_id"]), "deleted")
    await problem(await running.client.get(path), 404, "session_not_found")


async def test_a_session_that_sleeps_has_no_picture(serve: Serve) -> None:
    running = await serve(sessions={"leave_seconds": 0.0})
    made = await running.session()
    socket = await running.client.ws_connect(made["engine_url"])
    await socket.close()
    session = running.sessions.get(made["session_id"])
    await until(lambda: session.live is None)
    path = f"/v1/admin/sessions/{made['session_id']}"
    await problem(await running.client.get(f"{path}/thumbnail.jpg"), 404, "no_picture")
    row = await (await running.client.get(path)).json()
    assert (row["status"], row["doing"], row["picture"], row["figures"]) == ("asleep", None, False, None)


async def test_capacity_and_limits(serve: Serve) -> None:
    running = await serve(sessions={"max_sessions": 2})
    await running.session()
    found = await get(running, "capacity")
    assert found["sessions"] == {"used": 1, "limit": 2}
    assert found["speaking"] == {"used": 0, "limit": None}
    assert 0 <= found["cpu"]["used"] <= 100
    assert found["waiting"]["used"] == 0
    assert found["refused"] is None
    assert 0 < found["memory"]["used"] < found["memory"]["limit"]
    assert 0 < found["disk"]["used"] < found["disk"]["limit"]
    assert found["limits"]["max_text_chars"] == 5000


async def test_engines_say_why_they_are_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await serve()
    monkeypatch.setattr(parts, "_NEEDED", ("torch_of_another_world",))
    warp, musetalk = (await get(running, "engines"))["engines"]
    assert (warp["name"], warp["chosen"], warp["available"]) == ("warp", True, True)
    assert (musetalk["name"], musetalk["chosen"], musetalk["available"]) == ("musetalk", False, False)
    assert "lipsync.enable_musetalk" in musetalk["why"]
    assert "MUSETALK_BASE" in musetalk["why"]
    assert (musetalk["code"], musetalk["cause"], warp["cause"]) == ("cannot_run", "no_base", None)


async def test_voices_say_why_they_are_off(serve: Serve) -> None:
    running = await serve()
    book = running.app[VOICES]
    book.rest(book.get("edge:de-DE-KatjaNeural"), VoiceError("voice_stalled", "It stalled."))
    found = await get(running, "voices")
    by_name = {voice["name"]: voice for voice in found["voices"]}
    assert by_name["hibari:heart"]["default"]
    assert by_name["hibari:heart"]["available"]
    assert by_name["edge:fr-FR-DeniseNeural"]["available"]
    assert not by_name["edge:de-DE-KatjaNeural"]["available"]
    assert "asked again in" in by_name["edge:de-DE-KatjaNeural"]["why"]
    assert found["listening"]["available"] in (True, False)
    assert found["model"]["mode"] == "demo"


async def test_builds_that_failed_lately_are_named(serve: Serve) -> None:
    running = await serve()
    for avatar_id, days in (("dark", 2), ("long-ago", 9)):
        folder = running.store.building / avatar_id
        folder.mkdir(parents=True)
        at = datetime.now(UTC) - timedelta(days=days)
        error = Problem(code="too_dark", message="The picture is too dark.")
        write_record(folder, AvatarRecord(id=avatar_id, state="failed", stage="failed", error=error, created_at=at))
    found = await get(running, "avatars/builds")
    assert (found["running"], found["waiting"], found["ready"], found["total"]) == ([], [], 1, 3)
    assert [(build["avatar_id"], build["error"]["code"]) for build in found["failed"]] == [("dark", "too_dark")]


async def test_turns_tell_their_stages_and_no_text(serve: Serve) -> None:
    running = await serve()
    one, two = await running.session(), await running.session()
    for made, text in ((one, "First."), (two, "Second one."), (one, "Third.")):
        path = f"/v1/sessions/{made['session_id']}"
        assert (await running.client.post(f"{path}/say", json={"text": text})).status == 202
        running.lives[0 if made is one else 1].finish()
    found = (await get(running, "turns"))["turns"]
    assert [(turn["session_id"], turn["characters"]) for turn in found] == [
        (one["session_id"], 6),
        (two["session_id"], 11),
        (one["session_id"], 6),
    ]
    assert found[0]["kind"] == "said"
    assert found[0]["outcome"] == "finished"
    assert found[0]["sound_ms"] >= 0
    assert found[0]["model_ms"] is None
    assert "Third" not in str(found)
    assert (await get(running, "turns?limit=1"))["total"] == 1
    assert (await get(running, f"turns?session_id={two['session_id']}"))["total"] == 1
    row = await get(running, f"sessions/{one['session_id']}")
    assert row["figures"]["say_to_sound_ms"] == round(found[0]["sound_ms"])
    for limit in ("0", "201", "x", "１"):
        await problem(await running.client.get(f"/v1/admin/turns?limit={limit}"), 400, "bad_request")


async def test_the_configuration_in_force(serve: Serve) -> None:
    running = await serve(webrtc={"turn_password": "turn-pass-word"}, sessions={"max_sessions": 3})
    found = await get(running, "config")
    assert found["settings"]["sessions"]["max_sessions"] == 3
    assert "sessions.max_sessions" in found["changed"]
    assert "turn-pass-word" not in str(found)


# -- storage ------------------------------------------------------------------------------------------------------


def age(running: Running, avatar_id: str, days: float) -> None:
    """It was made a year ago, and used `days` ago."""
    folder = running.root / avatar_id
    if not folder.exists():
        add_ready(running.root, avatar_id, created=datetime.now(UTC) - timedelta(days=365))
    (folder / MARK).touch()
    os.utime(folder / MARK, (time.time() - days * DAY,) * 2)


async def test_storage_tells_what_avatars_take_and_when_they_were_used(serve: Serve) -> None:
    running = await serve()
    age(running, "bob", 40)
    await running.session()
    found = await get(running, "storage")
    rows = {row["avatar_id"]: row for row in found["avatars"]}
    assert rows["ada"]["sessions"] == 1
    assert rows["ada"]["cache_bytes"] > 0
    assert abs(time.time() - _seconds(rows["ada"]["last_used_at"])) < 60
    assert abs(time.time() - 40 * DAY - _seconds(rows["bob"]["last_used_at"])) < 60
    assert found["bytes"] == sum(row["bytes"] for row in rows.values())
    assert found["disk"]["free_bytes"] > 0
    assert found["recordings"] == {"total": 0, "bytes": 0, "limit_bytes": 50_000_000_000}


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


async def prune(running: Running, **body: Any) -> Any:
    answer = await running.client.post("/v1/admin/avatars/prune", json=body)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_prune_names_first_and_deletes_only_when_told(serve: Serve) -> None:
    running = await serve()
    for avatar_id in ("bob", "cleo", SAMPLE_ID):
        age(running, avatar_id, 40)
    age(running, "dora", 3)
    await running.session("bob")  # in use
    age(running, "bob", 40)

    dry = await prune(running, unused_days=30)
    assert dry["dry_run"]
    assert [row["avatar_id"] for row in dry["avatars"]] == ["cleo"]
    assert dry["bytes"] == next(
        row["bytes"] for row in (await get(running, "storage"))["avatars"] if row["avatar_id"] == "cleo"
    )
    assert dry["kept"] == {"in_use": 1, "sample": 1, "used": 2}
    assert (running.root / "cleo").exists()

    wet = await prune(running, unused_days=30, dry_run=False)
    assert [row["avatar_id"] for row in wet["avatars"]] == ["cleo"]
    assert wet["bytes"] == dry["bytes"]
    assert {path.name for path in running.root.iterdir() if not path.name.startswith(".")} == {
        "ada",
        "bob",
        "dora",
        SAMPLE_ID,
    }
    assert [row["avatar_id"] for row in (await prune(running, unused_days=30, include_sample=True))["avatars"]] == [
        SAMPLE_ID
    ]


async def test_the_avatar_of_a_session_that_sleeps_is_in_use(serve: Serve) -> None:
    running = await serve(sessions={"leave_seconds": 0.0})
    age(running, "bob", 40)
    made = await running.session("bob")
    await (await running.client.ws_connect(made["engine_url"])).close()
    session = running.sessions.get(made["session_id"])
    await until(lambda: session.live is None)
    age(running, "bob", 40)
    dry = await prune(running, unused_days=30)
    assert dry["avatars"] == []
    assert dry["kept"]["in_use"] == 1


@pytest.mark.parametrize(
    "body", [{}, {"unused_days": 0}, {"unused_days": "soon"}, {"unused_days": 30, "dryrun": False}]
)
async def test_prune_refuses_what_it_does_not_understand(serve: Serve, body: dict[str, Any]) -> None:
    """A misspelt dry_run must not be taken for an order to name only, nor for one to delete."""
    running = await serve()
    await problem(await running.client.post("/v1/admin/avatars/prune", json=body), 422, "invalid_request")
