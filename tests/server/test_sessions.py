"""Sessions over HTTP: the contract with a school's server, its refusals, and that everything ends."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import pytest

from avatars.record import AvatarRecord
from pipeline.events import Problem
from server import sessions_api
from tests.rtc.clients import until
from tests.server.conftest import Serve, add_ready, problem


def wav(seconds: float = 0.5) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x10\x20" * round(16_000 * seconds))
    return out.getvalue()


async def test_a_session_is_made_shown_and_ended(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.post(
        "/v1/sessions", json={"tutor_id": "t-ada", "student_id": 7, "kb_id": "kb", "unknown": "ignored"}
    )
    assert answer.status == 201
    made = await answer.json()
    assert {"session_id", "engine_url", "engine_token", "status", "whep_url", "ice_servers", "expires_at"} <= set(made)
    assert made["avatar_id"] == "ada"
    assert made["engine_url"] == f"/ws/{made['session_id']}?token={made['engine_token']}"
    assert answer.headers["Location"] == f"/v1/sessions/{made['session_id']}"

    listed = await (await server.client.get("/v1/sessions")).json()
    assert listed["total"] == 1
    assert made["engine_token"] not in str(listed)
    shown = await (await server.client.get(answer.headers["Location"])).json()
    assert shown["student_id"] == "7"
    assert shown["kb_id"] == "kb"

    assert (await server.client.delete(answer.headers["Location"])).status == 204
    assert server.lives[0].closed
    assert server.store.leases("ada") == 0
    await problem(await server.client.delete(answer.headers["Location"]), 404, "session_not_found")
    assert (await (await server.client.get("/v1/sessions")).json())["total"] == 0


async def test_two_sessions_share_one_face(serve: Serve) -> None:
    server = await serve()
    first, second = await server.session(), await server.session()
    assert first["session_id"] != second["session_id"]
    assert server.engine.opened == ["ada"]
    assert server.lives[0].avatar is server.lives[1].avatar


async def test_a_tutor_gets_its_newest_ready_avatar(serve: Serve) -> None:
    server = await serve()
    add_ready(server.root, "ada-2", "t-ada", datetime(2099, 1, 1, tzinfo=UTC))
    server.store.building.joinpath("ada-3").mkdir()
    server.store.update(AvatarRecord(id="ada-3", tutor_id="t-ada", created_at=datetime(2100, 1, 1, tzinfo=UTC)))
    answer = await server.client.post("/v1/sessions", json={"tutor_id": "t-ada", "student_id": "s"})
    assert (await answer.json())["avatar_id"] == "ada-2"


async def test_sessions_that_cannot_be_made(serve: Serve) -> None:
    server = await serve()
    server.store.building.joinpath("slow").mkdir()
    server.store.update(AvatarRecord(id="slow", tutor_id="t-slow", progress=0.4))

    async def ask(**body: object) -> aiohttp.ClientResponse:
        return await server.client.post("/v1/sessions", json={"student_id": "s", **body})

    await problem(await ask(avatar_id="nobody"), 404, "not_found")
    await problem(await ask(tutor_id="nobody"), 404, "unknown_tutor")
    assert (await problem(await ask(avatar_id="slow"), 409, "not_ready"))["progress"] == 0.4
    await problem(await ask(tutor_id="t-slow"), 409, "not_ready")
    await problem(await ask(), 422, "invalid_request")
    await problem(await ask(avatar_id="ada", voice="hibari:nobody"), 422, "unknown_voice")
    body = await problem(await ask(avatar_id="ada", student_id=""), 422, "invalid_request")
    assert body["errors"][0]["field"] == "student_id"
    body = await problem(await server.client.post("/v1/sessions", json={"avatar_id": "ada"}), 422, "invalid_request")
    assert body["detail"] == "The field student_id is missing."
    assert body["errors"][0]["field"] == "student_id"
    await problem(await server.client.post("/v1/sessions", data=b"{nonsense"), 400, "invalid_json")
    await problem(await server.client.post("/v1/sessions", data=b"[" * 100_000), 400, "invalid_json")
    await problem(await server.client.post("/v1/sessions", data={"a": "form"}), 415, "unsupported_media_type")
    assert server.sessions.all() == []


async def test_a_full_server_says_when_to_come_back(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    first = await server.session()
    answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"})
    await problem(answer, 503, "at_capacity")
    assert int(answer.headers["Retry-After"]) >= 1
    await server.client.delete(f"/v1/sessions/{first['session_id']}")
    await server.session()


async def test_say_and_interrupt(serve: Serve) -> None:
    server = await serve()
    url = f"/v1/sessions/{(await server.session(voice='hibari:heart'))['session_id']}"
    answer = await server.client.post(f"{url}/say", json={"text": "Hello."})
    assert answer.status == 202
    assert (await answer.json())["utterance_id"] == server.lives[0].waiting[0]
    await server.client.post(f"{url}/say", json={"text": "Ola.", "voice": "edge:pt-BR-FranciscaNeural"})
    assert server.lives[0].said == [("Hello.", "hibari:heart"), ("Ola.", "edge:pt-BR-FranciscaNeural")]
    answer = await server.client.post(f"{url}/interrupt")
    assert (answer.status, await answer.json()) == (200, {"generation": 1})
    stats = await (await server.client.get(f"{url}/stats")).json()
    assert (stats["live"]["utterances"], stats["live"]["utterances_begun"]) == (0, 2)
    assert (stats["live"]["generation"], stats["live"]["draw_ms"]) == (1, None)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_session_whose_live_part_has_failed_is_started_again(serve: Serve, closes: bool) -> None:
    server = await serve(sessions={"max_sessions": 1})
    made = await server.session()
    url = f"/v1/sessions/{made['session_id']}"
    async with server.client.ws_connect(made["engine_url"]):  # somebody is there all the time: it never sleeps
        server.lives[0].running = False
        if not closes:
            server.lives[0].close = broken  # type: ignore[method-assign]
        answer = await server.client.post(f"{url}/say", json={"text": "Hello again."})
        assert answer.status == 202, await answer.text()
        assert server.lives[0].closed == closes
        assert server.lives[1].said == [("Hello again.", None)]
        assert (len(server.lives), server.sessions.awake) == (2, 1)
        await until(lambda: server.store.leases("ada") == 1)
        assert (await server.client.post(f"{url}/say", json={"text": "And on."})).status == 202
        assert len(server.lives) == 2


async def broken() -> None:
    raise RuntimeError("it cannot even be closed")


async def test_what_cannot_be_said(serve: Serve) -> None:
    server = await serve(sessions={"max_text_chars": 100})
    url = f"/v1/sessions/{(await server.session())['session_id']}/say"
    await problem(await server.client.post(url, json={"text": "a" * (10 << 20)}), 413, "too_large")
    await problem(await server.client.post(url, json={"text": "a" * 101}), 413, "too_large")
    await problem(await server.client.post(url, json={"text": "  \n "}), 422, "invalid_request")
    await problem(await server.client.post(url, json={"text": "a", "voice": "nobody"}), 422, "unknown_voice")
    await problem(await server.client.post(url, data=b"\xff\xfe"), 400, "invalid_json")
    await problem(await server.client.post("/v1/sessions/nobody/say", json={"text": "a"}), 404, "session_not_found")
    for _ in range(3):
        assert (await server.client.post(url, json={"text": "a"})).status == 202
    answer = await server.client.post(url, json={"text": "a"})
    await problem(answer, 429, "queue_full")
    assert answer.headers["Retry-After"]


async def test_a_recording_is_spoken_raw_and_from_a_form(serve: Serve) -> None:
    server = await serve()
    url = f"/v1/sessions/{(await server.session())['session_id']}/audio"
    answer = await server.client.post(url, data=wav(0.5), headers={"Content-Type": "audio/wav"})
    assert answer.status == 202, await answer.text()
    form = aiohttp.FormData()
    form.add_field("text", "what is said")
    form.add_field("audio", wav(0.25), filename="clip.wav")
    assert (await server.client.post(url, data=form)).status == 202
    await until(lambda: len(server.lives[0].recordings) == 2)
    assert sorted(server.lives[0].recordings) == [(12_000, "what is said"), (24_000, "")]


async def test_recordings_that_are_none(serve: Serve) -> None:
    server = await serve(sessions={"max_audio_mb": 1, "max_audio_seconds": 1})
    url = f"/v1/sessions/{(await server.session())['session_id']}/audio"
    await problem(await server.client.post(url, data=b"not sound" * 100), 422, "audio_unreadable")
    await problem(await server.client.post(url, data=b""), 422, "audio_empty")
    await problem(await server.client.post(url, data=b"0" * (2 << 20)), 413, "too_large")
    form = aiohttp.FormData()
    form.add_field("text", "no file", filename=None)
    form.add_field("more", "x", content_type="text/plain")
    await problem(await server.client.post(url, data=form), 422, "invalid_request")


async def test_tokens(serve: Serve) -> None:
    """Without an API key nothing is needed, but a token that is given has to be right."""
    server = await serve()
    mine, other = await server.session(), await server.session()
    url = f"/v1/sessions/{mine['session_id']}"
    right = {"Authorization": f"Bearer {mine['engine_token']}"}
    wrong = {"Authorization": f"Bearer {other['engine_token']}"}
    assert (await server.client.get(url)).status == 200
    assert (await server.client.get(url, headers=right)).status == 200
    await problem(await server.client.get(url, headers=wrong), 401, "wrong_token")
    await problem(await server.client.delete(url, headers=wrong), 401, "wrong_token")


async def test_an_api_key_guards_the_managing_calls(serve: Serve) -> None:
    server = await serve(server={"api_key": "the key"})
    key = {"Authorization": "Bearer the key"}
    for method, path in (
        ("POST", "/v1/sessions"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/avatars"),
        ("POST", "/v1/avatars"),
        ("POST", "/v1/avatars/upload"),
        ("GET", "/v1/avatars/ada"),
        ("DELETE", "/v1/avatars/ada"),
        ("GET", "/v1/avatars/ada/preview.jpg"),
        ("GET", "/v1/webrtc/config"),
    ):
        for headers in ({}, {"Authorization": "Bearer a key"}):
            answer = await server.client.request(method, path, json={}, headers=headers)
            await problem(answer, 401, "unauthorized")
    assert (await server.client.get("/v1/avatars", headers=key)).status == 200
    assert (await server.client.get("/health")).status == 200
    answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"}, headers=key)
    made = await answer.json()
    url = f"/v1/sessions/{made['session_id']}"
    await problem(await server.client.get(url), 401, "unauthorized")
    await problem(await server.client.get(url, headers={"Authorization": "Bearer no"}), 401, "wrong_token")
    assert (await server.client.get(url, headers={"Authorization": f"Bearer {made['engine_token']}"})).status == 200
    assert (await server.client.get(url, headers=key)).status == 200
    assert (await server.client.delete(url, headers=key)).status == 204


async def test_a_session_that_nobody_joins_ends(serve: Serve) -> None:
    server = await serve(sessions={"first_seconds": 0.2})
    await server.session()
    await until(lambda: server.store.leases("ada") == 0)
    assert server.lives[0].closed
    await until(lambda: server.sessions.awake == 0)
    assert server.sessions.all() == []


async def test_when_all_have_left_the_session_sleeps_and_wakes(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.05})
    made = await server.session()
    session = server.sessions.get(made["session_id"])
    with server.sessions.present(session):
        pass
    await until(lambda: server.sessions.awake == 0)
    assert server.lives[0].closed
    await until(lambda: server.store.leases("ada") == 0)
    url = f"/v1/sessions/{session.id}"
    assert (await (await server.client.get(url)).json())["status"] == "asleep"
    assert (await server.client.post(f"{url}/say", json={"text": "Back."})).status == 202
    assert server.lives[1].said == [("Back.", None)]


async def test_a_left_session_ends_after_its_timeout(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0, "timeout_seconds": 0.2})
    session = server.sessions.get((await server.session())["session_id"])
    with server.sessions.present(session):
        await asyncio.sleep(0.4)
        assert not session.ended  # somebody is there: no timeout
    await until(lambda: session.ended)
    await problem(await server.client.get(f"/v1/sessions/{session.id}"), 404, "session_not_found")


async def test_a_session_whose_avatar_went_while_it_slept(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0})
    session = server.sessions.get((await server.session())["session_id"])
    with server.sessions.present(session):
        pass
    await until(lambda: server.sessions.awake == 0)
    assert (await server.client.delete("/v1/avatars/ada")).status == 204
    await problem(await server.client.post(f"/v1/sessions/{session.id}/say", json={"text": "a"}), 404, "not_found")
    assert server.sessions.awake == 0


async def test_a_failing_start_keeps_no_seat(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve(sessions={"max_sessions": 1})

    def fail(avatar: object) -> None:
        raise RuntimeError("secret detail of the engine")

    monkeypatch.setattr(server.engine, "open", fail)
    answer = await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"})
    body = await problem(answer, 500, "internal_error")
    assert body["incident"] in body["detail"]
    assert "secret" not in await answer.text()
    monkeypatch.undo()
    await server.session()
    assert server.store.leases("ada") == 1


async def test_voices_and_health(serve: Serve) -> None:
    server = await serve()
    voices = await (await server.client.get("/v1/voices")).json()
    assert voices["default"] == "hibari:heart"
    assert {"name": "hibari:heart", "online": False} in voices["voices"]
    await server.session()
    health = await (await server.client.get("/health")).json()
    assert health["status"] == "ok"
    assert health["sessions"] == {"active": 1, "max": 8, "total": 1, "waiting": 0}


async def test_ice_servers_are_named(serve: Serve) -> None:
    server = await serve(webrtc={"turn_server": "turn:t.example:3478", "turn_username": "u", "turn_password": "p"})
    expected = [{"urls": ["turn:t.example:3478"], "username": "u", "credential": "p"}]
    made = await server.session()
    assert (made["ice_servers"], made["ice_transport_policy"]) == (expected, "all")
    config = await (await server.client.get("/v1/webrtc/config")).json()
    assert (config["iceServers"], config["iceTransportPolicy"]) == (expected, "all")
    assert (config["ice_servers"], config["ice_transport_policy"]) == (expected, "all")


async def test_a_session_gets_turn_credentials_of_its_own_and_fresh_ones_when_it_asks_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = {"turn_server": "t.example:3478", "turn_secret": "north", "turn_seconds": 600}
    server = await serve(webrtc={**turn, "ice_transport_policy": "relay"})
    now = time.time()
    made = await server.session()
    (first,) = made["ice_servers"]
    assert made["ice_transport_policy"] == "relay"
    expires, _, name = first["username"].partition(":")
    assert name == made["session_id"]
    assert 590 <= int(expires) - now <= 610
    monkeypatch.setattr(sessions_api, "time", SimpleNamespace(time=lambda: now + 7200))
    headers = {"Authorization": f"Bearer {made['engine_token']}"}
    again = await (await server.client.get(f"/v1/sessions/{made['session_id']}", headers=headers)).json()
    (fresh,) = again["ice_servers"]
    assert int(fresh["username"].partition(":")[0]) - now > 7200
    assert fresh["credential"] != first["credential"]
    listed = await (await server.client.get("/v1/sessions")).json()
    assert "credential" not in str(listed), "a list shows nobody's credentials"


async def test_a_server_that_refuses_new_sessions_goes_on_with_those_it_has(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0})
    sleeper = server.sessions.get((await server.session())["session_id"])
    with server.sessions.present(sleeper):
        pass
    await until(lambda: sleeper.live is None)
    made = await server.session()
    url = f"/v1/sessions/{made['session_id']}"
    server.sessions.refuse_new("draining", "This server is being stopped. Go to another one.", 12)
    for path, body in (
        ("/v1/sessions", {"avatar_id": "ada", "student_id": "s"}),
        ("/v1/rtvi/start", {"avatar_id": "ada", "student_id": "s"}),
        (f"/v1/sessions/{sleeper.id}/say", {"text": "Wake up."}),
    ):
        answer = await server.client.post(path, json=body)
        assert (await problem(answer, 503, "draining"))["retry_after"] == 12
        assert answer.headers["Retry-After"] == "12"
    assert (await server.client.post(f"{url}/say", json={"text": "I go on."})).status == 202
    assert "draining" in await (await server.client.get("/metrics")).text()
    server.sessions.accept_new()
    assert (await server.client.post(f"/v1/sessions/{sleeper.id}/say", json={"text": "Now."})).status == 202


async def test_everybody_can_be_told_something(serve: Serve) -> None:
    server = await serve()
    made = [await server.session() for _ in range(2)]
    sockets = [await server.client.ws_connect(each["engine_url"]) for each in made]
    server.sessions.tell_all(Problem("draining", "This server stops in a minute."))
    for socket in sockets:
        async with asyncio.timeout(30):
            assert (await socket.receive_json())["code"] == "draining"


async def test_limits_change_while_sessions_run(serve: Serve) -> None:
    server = await serve(sessions={"max_sessions": 1})
    made = await server.session()
    await problem(
        await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"}), 503, "at_capacity"
    )
    server.sessions.set_limits(replace(server.sessions.limits, max_sessions=2))
    await server.session()
    server.sessions.set_limits(replace(server.sessions.limits, max_sessions=1))
    assert server.sessions.awake == 2, "nobody loses the seat it has"
    await server.client.delete(f"/v1/sessions/{made['session_id']}")
    await problem(
        await server.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"}), 503, "at_capacity"
    )
