"""The whole server hears: over WebRTC and as a clip, told by WebSocket and server-sent events; refusals are coded."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse
from aiohttp.test_utils import TestClient, TestServer

from avatars.avatar import Avatar
from pipeline.media import Pcm
from pipeline.recognise import Recogniser, WhisperRecogniser, WhisperSettings
from pipeline.session import LiveSession
from pipeline.voices.book import VoiceBook
from server.app import build_app
from server.rtc.joining import MOST_MICROPHONES
from server.settings import Settings
from tests.listening.fakes import FakeRecogniser, FileMicrophone
from tests.loop_time import SteadyClock
from tests.pipeline.fakes import FakeFace
from tests.rtc.clients import AiortcViewer, until
from tests.server.conftest import Client, Serve, add_ready, problem, serve, settings_for
from tests.server.fakes import FakeEngine
from tests.server.test_ws import heard
from tests.voices.fakes import FakeVoice

__all__ = ["serve", "settings_for"]

Speak = Callable[[str], Pcm]
QUESTION = "Why is the sky blue?"


class PaintingEngine(FakeEngine):
    """With a face that a live session can speak with."""

    def open(self, avatar: Avatar) -> FakeFace:  # type: ignore[override]
        return FakeFace(avatar)


def wav(sound: Pcm) -> str:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(sound.tobytes())
    return base64.b64encode(out.getvalue()).decode()


Listen = Callable[..., Awaitable[Client]]


@pytest.fixture
async def listen(settings_for: Callable[..., Settings]) -> AsyncIterator[Listen]:
    """`await listen(recogniser)`: a server with real sessions whose tutor repeats what it hears, in a humming voice."""
    clients: list[Client] = []

    async def start(recogniser: Recogniser | None, **groups: Any) -> Client:
        settings = settings_for(**groups)
        add_ready(settings.avatars.dir, "ada")
        book = VoiceBook(online=False)
        book.add(FakeVoice("hibari:heart"))
        app = build_app(settings, engine=PaintingEngine(), book=book, recogniser=recogniser, live=LiveSession)
        client: Client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield start
    for client in clients:
        await client.close()


async def new_session(client: Client) -> dict[str, Any]:
    answer = await client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s"})
    assert answer.status == 201
    made: dict[str, Any] = await answer.json()
    return made


async def offered(client: Client, session: dict[str, Any], viewer: AiortcViewer) -> str:
    """The answer to a viewer's offer."""
    headers = {"Authorization": f"Bearer {session['engine_token']}", "Content-Type": "application/sdp"}
    answer = await client.post(session["whep_url"], data=await viewer.offer(), headers=headers)
    assert answer.status == 201
    text = await answer.text()
    await viewer.accept(text)
    return text


def talker(microphone: FileMicrophone) -> AiortcViewer:
    viewer = AiortcViewer(kinds=())
    viewer.pc.addTrack(microphone)
    viewer.pc.addTransceiver("video", direction="recvonly")
    return viewer


async def test_the_session_says_whether_it_hears(listen: Listen) -> None:
    client = await listen(FakeRecogniser("Yes."))
    session = await new_session(client)
    assert session["listening"] == {"available": True, "code": None, "reason": None}
    shown = await (await client.get(f"/v1/sessions/{session['session_id']}")).json()
    assert shown["listening"] == session["listening"]


@pytest.mark.parametrize(
    ("group", "code", "says"),
    [({"enabled": False}, "off", "turned off"), ({"models_dir": Path("/nowhere")}, "no_model", "has no model")],
    ids=["off", "no model"],
)
async def test_why_it_does_not_hear(serve: Serve, group: dict[str, Any], code: str, says: str) -> None:
    server = await serve(listening=group)
    session = await server.session()
    assert (session["listening"]["available"], session["listening"]["code"]) == (False, code)
    assert says in session["listening"]["reason"]
    shown = await (await server.client.get(f"/v1/sessions/{session['session_id']}")).json()
    assert shown["listening"] == session["listening"]
    socket = await server.client.ws_connect(session["engine_url"])
    await socket.send_json({"type": "audio", "speaker": "student", "data": wav(np.zeros(4_800, np.int16))})
    error = await heard(socket, "error")
    assert (error["code"], error["status"]) == ("listening_unavailable", 503)
    assert says in error["message"]
    viewer = AiortcViewer(direction="sendrecv")
    try:
        assert "a=sendrecv" not in await offered(server.client, session, viewer)
    finally:
        await viewer.close()
        await socket.close()


async def test_without_the_package_it_does_not_hear(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faster_whisper" else find(name))
    session = await (await serve()).session()
    assert session["listening"] == {
        "available": False,
        "code": "not_installed",
        "reason": "Speech recognition is not installed on this server.",
    }


async def followed(client: Client, session: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that are kept, as servers get them."""
    url = f"/v1/sessions/{session['session_id']}/events"
    answer = await client.get(url, headers={"Last-Event-ID": "0"})
    events = []
    async with asyncio.timeout(30):
        async for line in answer.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                if events[-1]["type"] == "transcription" and events[-1]["final"]:
                    break
    answer.close()
    return events


@pytest.mark.timeout(120)
async def test_a_student_speaks_and_is_answered_over_webrtc(
    listen: Listen, speak: Speak, whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = WhisperRecogniser(WhisperSettings(whisper, "en"))
    client = await listen(recogniser)
    await recogniser.transcribe(np.zeros(1_600, np.int16), urgent=True)
    session = await new_session(client)
    socket = await client.ws_connect(session["engine_url"])
    microphone = FileMicrophone()
    viewer = talker(microphone)
    try:
        assert (await offered(client, session, viewer)).count("a=sendrecv") == 1
        await viewer.until(lambda: viewer.frames > 2)
        monkeypatch.setattr(time, "monotonic", SteadyClock())  # what a busy machine misses would be a pause
        for question in (QUESTION, "What do plants eat?"):
            microphone.say(speak(question))
            said = await final(socket)
            assert said["text"] == question
            started = await heard(socket, "speech_started")
            ended = await heard(socket, "speech_ended")
            assert ended["utterance_id"] == started["utterance_id"]
            assert ended["heard"] == question
        (kept,) = [e for e in await followed(client, session) if e["type"] == "transcription" and e["final"]]
        assert kept == {"type": "transcription", "utterance_id": kept["utterance_id"], "text": QUESTION, "final": True}
    finally:
        await viewer.close()
        await socket.close()


async def final(socket: ClientWebSocketResponse) -> dict[str, Any]:
    while not (said := await heard(socket, "transcription"))["final"]:
        pass
    return said


async def test_a_clip_is_heard_and_answered(listen: Listen, speak: Speak) -> None:
    client = await listen(FakeRecogniser(QUESTION))
    session = await new_session(client)
    socket = await client.ws_connect(session["engine_url"])
    await socket.send_json({"type": "audio", "speaker": "student", "data": wav(speak(QUESTION)), "request_id": "7"})
    waiting = await heard(socket, "processing_status")
    assert (waiting["status"], waiting["request_id"]) == ("waiting", "7")
    assert await final(socket) == {
        "type": "transcription",
        "utterance_id": waiting["utterance_id"],
        "text": QUESTION,
        "final": True,
    }
    assert (await heard(socket, "text_complete"))["text"] == QUESTION
    await socket.send_json({"type": "audio", "speaker": "student", "data": wav(np.zeros(24_000, np.int16))})
    error = await heard(socket, "error")
    assert error["code"] == "no_words"
    await socket.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("no base64!", "bad_request"),
        (base64.b64encode(b"no sound" * 99).decode(), "audio_unreadable"),
        ("A" * (14 << 20), "too_large"),
        (wav(np.zeros(61 * 48_000, np.int16)), "audio_too_long"),
    ],
    ids=["text", "bytes", "large", "long"],
)
async def test_a_clip_that_cannot_be_heard_is_refused(listen: Listen, data: str, code: str) -> None:
    client = await listen(FakeRecogniser("Yes."))
    socket = await client.ws_connect((await new_session(client))["engine_url"])
    await socket.send_json({"type": "audio", "speaker": "student", "data": data, "request_id": "8"})
    error = await heard(socket, "error")
    assert (error["code"], error["request_id"]) == (code, "8")
    await socket.close()


async def test_too_many_clips_are_refused(listen: Listen) -> None:
    recogniser = FakeRecogniser("Yes.", delay=30)
    client = await listen(recogniser)
    socket = await client.ws_connect((await new_session(client))["engine_url"])
    for _ in range(4):
        await socket.send_json({"type": "audio", "speaker": "student", "data": wav(np.ones(4_800, np.int16))})
        assert (await heard(socket, "processing_status"))["status"] == "waiting"
    await socket.send_json({"type": "audio", "speaker": "student", "data": wav(np.ones(4_800, np.int16))})
    assert (await heard(socket, "error"))["code"] == "queue_full"
    await socket.close()
    await client.close()
    assert recogniser.closed
    assert recogniser.open == 0


async def test_a_session_has_a_bounded_number_of_microphones(listen: Listen) -> None:
    client = await listen(FakeRecogniser("Yes."))
    session = await new_session(client)
    viewers = [AiortcViewer(direction="sendrecv") for _ in range(MOST_MICROPHONES + 1)]
    try:
        answers = [await offered(client, session, viewer) for viewer in viewers]
        assert [answer.count("a=sendrecv") for answer in answers] == [1] * MOST_MICROPHONES + [0]
        await viewers[-1].until(lambda: viewers[-1].frames > 0)
    finally:
        for viewer in viewers:
            await viewer.close()


async def test_hearing_ends_with_the_session(listen: Listen, speak: Speak) -> None:
    recogniser = FakeRecogniser("Yes.", delay=30)
    client = await listen(recogniser)
    session = await new_session(client)
    microphone = FileMicrophone(speak("Why is the sky blue?"))
    viewer = talker(microphone)
    try:
        await offered(client, session, viewer)
        await until(lambda: recogniser.open == 1)
        assert (await client.delete(f"/v1/sessions/{session['session_id']}")).status == 204
        await until(lambda: recogniser.open == 0)
        await problem(await client.get(f"/v1/sessions/{session['session_id']}"), 404, "session_not_found")
    finally:
        await viewer.close()
