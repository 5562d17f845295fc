"""The session's WebSocket: what a page may say, what it hears, and that nothing foreign brings it down."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from pipeline.events import Caption, Problem
from server import outbox, ws
from tests.rtc.clients import LIMIT, AiortcViewer, until
from tests.server.conftest import Running, Serve, problem
from tests.server.test_sessions import wav


async def heard(socket: ClientWebSocketResponse, kind: str, seconds: float = LIMIT) -> dict[str, Any]:
    """The next message of a type; others are passed over."""
    async with asyncio.timeout(seconds):
        while True:
            message = await socket.receive_json()
            if message["type"] == kind:
                return dict(message)


async def open_socket(server: Running) -> ClientWebSocketResponse:
    return await server.client.ws_connect((await server.session())["engine_url"])


async def test_saying_and_hearing(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    await socket.send_json({"type": "init", "voice": "edge:de-DE-KatjaNeural", "request_id": "r0"})
    status = await heard(socket, "processing_status")
    assert (status["status"], status["avatar_id"], status["request_id"]) == ("idle", "ada", "r0")
    await socket.send_json({"type": "say", "text": "Hello.", "request_id": "r1"})
    started = await heard(socket, "speech_started")
    status = await heard(socket, "processing_status")
    assert status["request_id"] == "r1"
    assert status["utterance_id"] == started["utterance_id"]
    live = server.lives[0]
    assert live.said == [("Hello.", "edge:de-DE-KatjaNeural")]
    live.on_event(Caption(started["utterance_id"], 0, "Hello.", 0.0, 0.4))
    assert (await heard(socket, "caption"))["word"] == "Hello."
    live.on_event(Problem("voice_fallback", "Another voice took over."))
    assert (await heard(socket, "error"))["code"] == "voice_fallback"
    live.finish()
    assert (await heard(socket, "speech_ended"))["reason"] == "finished"
    await socket.send_json({"type": "interrupt"})
    assert (await heard(socket, "interrupted"))["generation"] == 1
    await socket.close()


async def test_without_a_language_model_the_tutor_repeats(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    await socket.send_json({"type": "text", "text": "What is a verb?"})
    stream, complete = await heard(socket, "text_stream"), await heard(socket, "text_complete")
    assert stream["text"] == complete["text"] == "What is a verb?"
    assert complete["demonstration"] is True
    assert server.lives[0].said == [("What is a verb?", None)]


async def test_a_clip_in_a_message(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    await socket.send_json({"type": "audio", "data": base64.b64encode(wav(0.25)).decode(), "text": "hm"})
    await heard(socket, "processing_status")
    await until(lambda: server.lives[0].recordings == [(12_000, "hm")])
    await socket.send_json({"type": "audio", "data": "no base64!"})
    assert (await heard(socket, "error"))["code"] == "bad_request"
    await socket.send_json({"type": "audio", "data": base64.b64encode(b"no sound" * 99).decode()})
    assert (await heard(socket, "error"))["code"] == "audio_unreadable"
    await socket.send_json({"type": "audio", "data": "A" * (14 << 20)})
    assert (await heard(socket, "error"))["code"] == "too_large"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{not json", "invalid_json"),
        ("[" * 50_000, "invalid_json"),
        ("[]", "invalid_message"),
        ("{}", "unknown_type"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": 5}', "unknown_type"),
        ('{"type": "say"}', "invalid_message"),
        ('{"type": "say", "text": 7}', "invalid_message"),
        ('{"type": "say", "text": " "}', "invalid_request"),
        ('{"type": "say", "text": "a", "voice": "nobody"}', "unknown_voice"),
        ('{"type": "say", "text": "%s"}' % ("a" * (10 << 20)), "too_large"),
        ('{"type": "init", "voice": "nobody"}', "unknown_voice"),
        ('{"type": "webrtc_offer", "sdp": "this is not SDP"}', "bad_sdp"),
        ('{"type": "webrtc_ice_candidate", "candidate": "candidate:1"}', "no_offer"),
    ],
    ids=lambda value: value[:40],
)
async def test_nonsense_is_answered_and_the_connection_lives(serve: Serve, message: str, code: str) -> None:
    server = await serve()
    socket = await open_socket(server)
    await socket.send_str(message)
    error = await heard(socket, "error")
    assert error["code"] == code
    assert error["message"]
    await socket.send_json({"type": "say", "text": "Still here."})
    await heard(socket, "speech_started")


async def test_an_error_carries_its_request(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    for message in ({"type": "say", "text": " "}, {"type": "dance"}, {"type": "say"}):
        await socket.send_json({**message, "request_id": "mine"})
        assert (await heard(socket, "error"))["request_id"] == "mine"
    await socket.send_bytes(b"\0\1")
    assert (await heard(socket, "error"))["code"] == "invalid_message"


async def test_a_message_that_is_far_too_large_closes_the_connection(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    session = server.sessions.all()[0]
    with contextlib.suppress(ConnectionError):  # it is cut off while it sends
        await socket.send_str("a" * (17 << 20))
    await until(lambda: not session.listeners)
    assert server.sessions.connected(session) == 0
    await server.client.ws_connect(f"/ws/{session.id}?token={session.token}")


async def test_an_unexpected_error_stays_inside(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    socket = await open_socket(server)

    def fail() -> int:
        raise RuntimeError("secret")

    monkeypatch.setattr(server.lives[0], "interrupt", fail)
    await socket.send_json({"type": "interrupt"})
    error = await heard(socket, "error")
    assert error["code"] == "internal_error"
    assert "secret" not in json.dumps(error)


async def test_refusals_come_before_the_upgrade(serve: Serve) -> None:
    server = await serve()
    mine, other = await server.session(), await server.session()
    for url, status in (
        (f"/ws/{mine['session_id']}", 401),
        (f"/ws/{mine['session_id']}?token=wrong", 401),
        (f"/ws/{mine['session_id']}?token={other['engine_token']}", 401),
        ("/ws/nobody?token=x", 404),
    ):
        with pytest.raises(WSServerHandshakeError) as refused:
            await server.client.ws_connect(url)
        assert refused.value.status == status
    await problem(await server.client.get(f"/ws/{mine['session_id']}?token=wrong"), 401, "wrong_token")
    await problem(await server.client.get(mine["engine_url"]), 400, "bad_request")


async def test_sockets_of_a_session_are_bounded(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    sockets = [await server.client.ws_connect(made["engine_url"]) for _ in range(ws.MOST_SOCKETS)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await server.client.ws_connect(made["engine_url"])
    assert refused.value.status == 429
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"]
    await problem(await server.client.get(made["engine_url"]), 429, "too_many_sockets")
    await sockets.pop().close()
    async with asyncio.timeout(30):
        while True:  # the server notices the closing by itself
            try:
                sockets.append(await server.client.ws_connect(made["engine_url"]))
                break
            except WSServerHandshakeError:
                await asyncio.sleep(0.05)
    for socket in sockets:
        await socket.close()


async def test_the_socket_keeps_its_session_awake_and_ends_with_it(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0, "timeout_seconds": 0.1})
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    await asyncio.sleep(0.3)
    session = server.sessions.get(made["session_id"])
    assert session.live is not None
    await server.client.post(f"/v1/sessions/{session.id}/say", json={"text": "A long story."})
    await server.client.delete(f"/v1/sessions/{session.id}")
    assert (await heard(socket, "speech_ended"))["reason"] == "interrupted"  # all that happened, before it is closed
    assert await socket.receive_json(timeout=30) == {"type": "session_ended", "reason": "deleted"}
    message = await socket.receive(timeout=30)
    assert message.type is WSMsgType.CLOSE
    assert message.data == 1001


async def test_the_viewer_of_a_socket_goes_with_it(serve: Serve) -> None:
    server = await serve(sessions={"leave_seconds": 0.0})
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    viewer = AiortcViewer()
    try:
        await socket.send_json({"type": "webrtc_offer", "sdp": await viewer.offer(), "request_id": "o"})
        answer = await heard(socket, "webrtc_answer")
        assert answer["request_id"] == "o"
        await viewer.accept(answer["sdp"])
        candidate = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
        await socket.send_json({"type": "webrtc_ice_candidate", **candidate})
        await socket.send_json({"type": "webrtc_ice_candidate", "candidate": None})
        await socket.send_json({"type": "webrtc_ice_candidate", "candidate": "nonsense"})
        assert (await heard(socket, "error"))["code"] == "bad_sdp"
        await viewer.until(lambda: viewer.frames > 3 and viewer.samples > 9600)
        assert len(server.lives[0].viewers) == 1
        await socket.close()
        session = server.sessions.get(made["session_id"])
        await until(lambda: session.live is None)  # all have left: it sleeps
        assert not server.lives[0].viewers
        assert (await (await server.client.get("/health")).json())["viewers"] == 0
    finally:
        await viewer.close()


async def test_a_client_that_does_not_read_is_dropped(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "CLOSE_SECONDS", 0.2)
    server = await serve()
    made = await server.session()
    host, port = server.client.host, server.client.port
    runner = server.client.server.runner
    assert runner is not None
    manager = runner.server
    assert manager is not None
    connections = len(manager.connections)
    _, writer = await asyncio.open_connection(host, port, limit=1024)
    writer.write(
        f"GET {made['engine_url']} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    session = server.sessions.get(made["session_id"])
    await until(lambda: bool(session.listeners))
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    word = "a" * 50_000
    for index in range(1000):
        session.emit(Caption("u", index, word, 0.0, 0.1))
        if index % 50 == 0:
            await asyncio.sleep(0)
    await until(lambda: not session.listeners)
    assert server.sessions.connected(session) == 0
    await until(lambda: len(manager.connections) == connections)  # what was not read is not kept for it
    writer.transport.abort()


async def test_a_message_that_cannot_be_written_closes_the_connection(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    session = server.sessions.get(made["session_id"])
    await until(lambda: bool(session.listeners))
    session.emit(Caption("u", 0, "\ud800", 0.0, 0.1))
    async with asyncio.timeout(30):  # receive's own would begin anew at each ping
        message = await socket.receive()
    assert (message.type, socket.close_code) == (WSMsgType.CLOSE, 1011), "the client can come back"


async def test_a_stopping_server_lets_go_of_its_sockets_at_once(serve: Serve) -> None:
    server = await serve()
    socket = await open_socket(server)
    async with asyncio.timeout(30):
        closing = asyncio.create_task(server.client.server.close())
        assert (await heard(socket, "session_ended"))["reason"] == "shutdown"
        assert (await socket.receive()).type is WSMsgType.CLOSE
        await closing
    assert server.engine.closed
    assert server.lives[0].closed


async def test_a_client_whose_network_vanished_is_noticed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not close, it only answers no ping any more."""
    monkeypatch.setattr(ws, "HEARTBEAT_SECONDS", 0.2)
    server = await serve(sessions={"leave_seconds": 0.0})
    session = server.sessions.get((await server.session())["session_id"])
    socket = await server.client.ws_connect(f"/ws/{session.id}?token={session.token}", autoping=False)
    await until(lambda: bool(session.listeners))
    await until(lambda: not session.listeners)
    await until(lambda: session.live is None)
    await socket.close()
