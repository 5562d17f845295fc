"""Sessions that last too long, or in which nobody says anything: warned, ended, and told why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType

from pipeline.events import ProcessingStatus, SpeechStarted
from server.rtvi.translator import Translator
from server.sessions import Session
from tests.limits.conftest import Clock
from tests.rtc.clients import LIMIT, until
from tests.server.conftest import Running, Serve
from tests.server.test_session_events import Reader, follow
from tests.server.test_ws import heard


async def joined(server: Running, made: dict[str, Any]) -> None:
    """The server knows that somebody is there."""
    await until(lambda: server.sessions.connected(session_of(server, made)) == 1)


async def everything(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All messages until it is closed."""
    seen = []
    async with asyncio.timeout(LIMIT):
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            seen.append(message.json())
    return seen


async def rest(reader: Reader) -> list[dict[str, Any]]:
    """All events until the end of the stream."""
    told = []
    while (event := await reader.next()) is not None:
        told.append(event[1])
    return told


def session_of(server: Running, made: dict[str, Any]) -> Session:
    return server.sessions.get(made["session_id"])


async def test_a_session_ends_when_its_time_is_over_and_its_student_is_told_before(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"max_seconds": 1000})
    made = await server.session()
    reader = await follow(server, made["session_id"], 0)
    socket = await server.client.ws_connect(made["engine_url"])
    await socket.send_json({"type": "say", "text": "Once upon a time."})
    await heard(socket, "speech_started")
    clock.forward(server, 945)
    warning = await heard(socket, "session_ending")
    assert warning["reason"] == "max_duration"
    assert 30 < warning["seconds"] <= 55
    clock.forward(server, 60)
    seen, told = await asyncio.gather(everything(socket), rest(reader))
    assert [each["type"] for each in told[-3:]] == ["session_ending", "speech_ended", "session_ended"]
    assert told[-1]["reason"] == "max_duration"
    assert seen[-2:] == told[-2:], "the last events come before the socket is closed"
    assert socket.close_code == 1001
    assert server.lives[0].closed


async def test_nobody_says_anything(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"idle_seconds": 1000})
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    await joined(server, made)
    clock.forward(server, 945)
    warning = await heard(socket, "session_ending")
    assert warning["reason"] == "idle"
    assert 30 < warning["seconds"] <= 55
    clock.forward(server, 60)
    assert (await heard(socket, "session_ended"))["reason"] == "idle"


async def test_talk_of_any_kind_keeps_it_alive(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"idle_seconds": 1000})
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    await joined(server, made)
    session = session_of(server, made)
    for event in (ProcessingStatus("listening"), SpeechStarted("u", 0, "")):
        clock.forward(server, 945)
        assert (await heard(socket, "session_ending"))["reason"] == "idle"
        session.emit(event)
        assert await heard(socket, "session_continues") == {"type": "session_continues", "reason": "idle"}
        session.emit(ProcessingStatus("speaking"))
        clock.forward(server, 5000)
        await asyncio.sleep(0.1)
        assert not session.ended, "a long answer is no silence"
        session.emit(ProcessingStatus("idle"))
    clock.forward(server, 1001)
    await heard(socket, "session_ended")


async def test_who_is_there_can_say_so_without_words(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"idle_seconds": 1000})
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    await joined(server, made)
    clock.forward(server, 945)
    await heard(socket, "session_ending")
    await socket.send_json({"type": "stay"})
    await heard(socket, "session_continues")
    clock.forward(server, 1001)
    await heard(socket, "session_ended")


async def test_limits_that_change_count_for_sessions_that_run(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    socket = await server.client.ws_connect(made["engine_url"])
    limits = server.sessions.limits
    assert (limits.max_seconds, limits.idle) == (14_400, 1800)
    server.sessions.set_limits(replace(limits, max_seconds=50))
    assert (await heard(socket, "session_ending"))["reason"] == "max_duration"
    server.sessions.set_limits(replace(limits, max_seconds=0))
    await heard(socket, "session_continues")
    server.sessions.set_limits(replace(limits, max_seconds=0.1))
    assert (await heard(socket, "session_ended"))["reason"] == "max_duration"


async def test_a_session_that_sleeps_ends_as_well_when_its_time_is_over(serve: Serve, clock: Clock) -> None:
    server = await serve(sessions={"max_seconds": 1000, "leave_seconds": 0.0})
    session = session_of(server, await server.session())
    with server.sessions.present(session):
        pass
    await until(lambda: session.live is None)
    assert not session.ended
    clock.forward(server, 1001)
    await until(lambda: session.ended)


def test_rtvi_clients_are_told_in_their_way() -> None:
    from server.notices import SessionContinues, SessionEnded, SessionEnding

    translator = Translator("s1")
    for event in (SessionEnding(60, "idle"), SessionContinues("idle"), SessionEnded("idle")):
        (told,) = translator.translate(event, "now")
        assert (told["type"], told["data"]) == ("server-message", event.as_message())
