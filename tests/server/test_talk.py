"""Asking the tutor over HTTP and WebSocket: with a model, and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server import doctor
from server.app import build_app
from server.doctor import Finding
from server.settings import Settings, SettingsError, load
from tests.conversation.model_server import Switches, model_server
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, problem
from tests.server.fakes import FakeEngine, quiet_book
from tests.server.test_ws import heard


async def ask(server: Running, session: dict[str, Any], text: str) -> dict[str, Any]:
    answer = await server.client.post(f"/v1/sessions/{session['session_id']}/ask", json={"text": text})
    assert answer.status == 202, await answer.text()
    body: dict[str, Any] = await answer.json()
    return body


async def test_without_a_model_every_answer_says_that_it_is_the_demonstration(serve: Serve) -> None:
    server = await serve()
    session = await server.session()
    assert session["mode"] == (await (await server.client.get("/health")).json())["mode"] == "demo"
    socket = await server.client.ws_connect(session["engine_url"])
    await socket.send_json({"type": "init"})
    assert (await heard(socket, "processing_status"))["mode"] == "demo"
    asked = await ask(server, session, " What is a verb? ")
    assert asked["mode"] == "demo"
    complete = await heard(socket, "text_complete")
    assert complete["utterance_id"] == asked["utterance_id"]
    assert (complete["text"], complete["demonstration"]) == ("What is a verb?", True)
    await until(lambda: server.lives[0].said == [("What is a verb?", None)])


async def test_a_question_over_an_answer_drops_it(serve: Serve) -> None:
    server = await serve()
    session = await server.session()
    await ask(server, session, "One?")
    assert server.lives[0].generation == 0
    await ask(server, session, "Two?")
    assert (server.lives[0].generation, len(server.lives[0].waiting)) == (1, 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": ""}, 422, "invalid_request"),
        ({"text": "  "}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"text": "a" * 5001}, 413, "too_large"),
    ],
    ids=str,
)
async def test_questions_that_are_none(serve: Serve, body: dict[str, str], status: int, code: str) -> None:
    server = await serve()
    session = await server.session()
    path = f"/v1/sessions/{session['session_id']}/ask"
    await problem(await server.client.post(path, json=body), status, code)


async def test_asking_needs_the_sessions_own_token_where_there_is_a_key(serve: Serve) -> None:
    server = await serve(server={"api_key": "k"})
    answer = await server.client.post(
        "/v1/sessions",
        json={"avatar_id": "ada", "student_id": "s"},
        headers={"Authorization": "Bearer k"},
    )
    session = await answer.json()
    path = f"/v1/sessions/{session['session_id']}/ask"
    await problem(await server.client.post(path, json={"text": "Hi."}), 401, "unauthorized")
    token = {"Authorization": f"Bearer {session['engine_token']}"}
    assert (await server.client.post(path, json={"text": "Hi."}, headers=token)).status == 202
    key = {"Authorization": "Bearer k"}
    unknown = await server.client.post("/v1/sessions/nobody/ask", json={"text": "Hi."}, headers=key)
    await problem(unknown, 404, "session_not_found")


async def test_a_model_answers_for_the_tutor_it_is_asked_for(serve: Serve) -> None:
    async with model_server(reply="It is a doing word.") as model:
        tutors = {
            "t-ada": {"persona": "You are Ada.", "language": "Welsh", "model": "big", "voice": "edge:cy-GB-NiaNeural"}
        }
        server = await serve(model={"base_url": model.url, "name": "small", "tutors": tutors})
        session = await server.session(kb_id="grammar")
        assert session["mode"] == "model"
        socket = await server.client.ws_connect(session["engine_url"])
        await socket.send_json({"type": "text", "text": "What is a verb?", "request_id": "r1"})
        await heard(socket, "processing_status")  # to everybody
        status = await heard(socket, "processing_status")
        assert status["request_id"] == "r1"
        got = ""
        while len(got) < len(model.switches.reply):  # in as many pieces as it likes
            got += (await heard(socket, "text_stream"))["text"]
        complete = await heard(socket, "text_complete")
        assert got == complete["text"] == "It is a doing word."
        assert complete["utterance_id"] == status["utterance_id"]
        assert (complete["reason"], complete["demonstration"]) == ("finished", False)
        await until(lambda: server.lives[0].said == [("It is a doing word.", "edge:cy-GB-NiaNeural")])
        (body,) = model.asked
        assert (body["model"], body["metadata"]) == ("big", {"kb_id": "grammar"})
        assert body["messages"][0]["content"].startswith("You are Ada.\n\nAnswer in Welsh.")
        await socket.close()


async def test_a_session_may_have_a_persona_and_a_voice_of_its_own(serve: Serve) -> None:
    async with model_server(reply="Yes.") as model:
        server = await serve(model={"base_url": model.url, "name": "small"})
        session = await server.session(persona="You are a pirate.", voice="edge:de-DE-KatjaNeural")
        await ask(server, session, "Hello?")
        await until(lambda: server.lives[0].said == [("Yes.", "edge:de-DE-KatjaNeural")])
        assert model.asked[0]["messages"][0]["content"].startswith("You are a pirate.")
        assert model.asked[0]["model"] == "small"


async def test_an_interruption_by_either_way_ends_the_models_request(serve: Serve) -> None:
    async with model_server(first_token=60) as model:
        server = await serve(model={"base_url": model.url, "name": "small"})
        session = await server.session()
        socket = await server.client.ws_connect(session["engine_url"])
        for number, by_socket in enumerate((True, False)):
            await socket.send_json({"type": "text", "text": "Why?"})
            await until(lambda: model.open == 1)
            if by_socket:
                await socket.send_json({"type": "interrupt"})
            else:
                await server.client.post(f"/v1/sessions/{session['session_id']}/interrupt")
            assert (await heard(socket, "text_complete"))["reason"] == "interrupted"
            assert (await heard(socket, "interrupted"))["generation"] == number + 1
            await until(lambda: model.open == 0)
        await socket.close()


async def test_what_was_said_is_kept_while_the_session_sleeps(serve: Serve) -> None:
    async with model_server(reply="It is a doing word.") as model:
        server = await serve(model={"base_url": model.url, "name": "small"}, sessions={"leave_seconds": 0.1})
        session = await server.session()
        socket = await server.client.ws_connect(session["engine_url"])
        await socket.send_json({"type": "text", "text": "What is a verb?"})
        await heard(socket, "text_complete")
        server.lives[0].finish()
        await socket.close()
        await until(lambda: server.lives[0].closed)
        assert server.sessions.all()[0].conversation is None
        server.sessions.set_limits(replace(server.sessions.limits, leave=60.0))
        await ask(server, session, "And a noun?")
        await until(lambda: len(model.asked) == 2)
        told = [message["content"] for message in model.asked[1]["messages"][1:]]
        assert told == ["What is a verb?", "It is a doing word.", "And a noun?"]


async def test_a_model_that_fails_leaves_the_session_alive(serve: Serve) -> None:
    async with model_server(status=500) as model:
        server = await serve(model={"base_url": model.url, "name": "small"})
        socket = await server.client.ws_connect((await server.session())["engine_url"])
        await socket.send_json({"type": "text", "text": "Why?"})
        error = await heard(socket, "error")
        assert error["code"] == "model_failed"
        assert "500" not in error["message"], "a sentence for the student"
        assert error["message"] == (await heard(socket, "text_complete"))["text"]
        model.switches = Switches(reply="Because.")
        await socket.send_json({"type": "text", "text": "Why?"})
        assert (await heard(socket, "text_complete"))["text"] == "Because."
        await socket.close()


async def test_an_answer_that_comes_all_at_once_costs_nobody_the_connection(serve: Serve) -> None:
    reply = "It is a doing word. " * 150
    async with model_server(reply=reply) as model:
        server = await serve(model={"base_url": model.url, "name": "small"})
        session = await server.session()
        socket = await server.client.ws_connect(session["engine_url"])
        await socket.send_json({"type": "text", "text": "What is a verb?"})
        assert (await heard(socket, "text_complete"))["text"] == reply.rstrip()
        assert server.sessions.get(session["session_id"]).events.last < 100, "readers that come back miss nothing"
        await socket.send_json({"type": "init"})
        await heard(socket, "processing_status")
        await socket.close()


async def test_half_characters_leave_the_session_alive(serve: Serve) -> None:
    async with model_server(reply="Bravo!\ud83d\ude00 A \ud800.", escaped=True) as model:
        server = await serve(model={"base_url": model.url, "name": "small"})
        socket = await server.client.ws_connect((await server.session())["engine_url"])
        for _ in range(2):
            await socket.send_json({"type": "text", "text": "Was I right?"})
            assert (await heard(socket, "text_complete"))["text"] == "Bravo!😀 A \ufffd."
            server.lives[0].finish()
        await socket.close()


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("{base_url: 'http://localhost/v1'}", "name"),
        ("{base_url: 'ftp://localhost/v1', name: m}", "is not an address"),
        ("{base_url: 'localhost:11434', name: m}", "is not an address"),
        ("{base_url: 'http://me:s3cret@host/v1', name: m}", "must hold no password"),
        ("{first_token_seconds: 0}", "model.first_token_seconds"),
        ("{tutors: {ada: {voise: x}}}", "model.tutors.ada.voise"),
    ],
)
def test_settings_of_a_model_that_cannot_be(tmp_path: Path, group: str, says: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"model: {group}\n")
    with pytest.raises(SettingsError, match=says) as error:
        load(config)
    assert "s3cret" not in str(error.value)


def test_the_key_comes_from_the_environment_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: {base_url: 'https://models.example/v1', name: m}\n")
    monkeypatch.setenv("LECTERN_MODEL__API_KEY", "s3cret")
    model = load(config).model
    client = model.client()
    assert client is not None
    assert client.api_key == "s3cret"
    assert "s3cret" not in f"{model!r}"


async def test_a_tutors_voice_that_does_not_exist_is_told_at_the_start(
    settings_for: Callable[..., Settings],
) -> None:
    settings = settings_for(model={"tutors": {"ada": {"voice": "nobody"}}})
    with pytest.raises(SettingsError, match=r"model\.tutors\.ada\.voice"):
        build_app(settings, engine=FakeEngine(), book=quiet_book())


async def test_the_doctor_asks_the_model_for_a_word(settings_for: Callable[..., Settings]) -> None:
    async def looked(**model: Any) -> Finding:
        return await asyncio.to_thread(doctor._model, settings_for(model=model))

    assert (await looked()).state == "note"
    async with model_server(reply="Yes.") as model:
        found = await looked(base_url=model.url, name="small")
        assert (found.state, found.found[:23]) == ("ok", "small: first word after")
        model.switches = Switches(status=401)
        found = await looked(base_url=model.url, name="small")
        assert (found.state, "401" in found.found) == ("bad", True)
