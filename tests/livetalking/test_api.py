"""LiveTalking's clients against Lectern: the whole flow, what fails and how, and who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.livetalking.client import LiveTalkingClient
from tests.recorder.films import read
from tests.recorder.test_api import filmed
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve
from tests.server.test_sessions import wav

ON = {"enabled": True}
OK = (200, {"code": 0, "msg": "ok"})

Join = Callable[..., LiveTalkingClient]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Clients that are closed after the test."""
    made: list[LiveTalkingClient] = []

    def make(server: Running, **headers: str) -> LiveTalkingClient:
        made.append(LiveTalkingClient(server.client, **headers))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def failed(answer: tuple[int, dict[str, Any]], status: int, error: str) -> str:
    assert answer[0] == status, answer
    assert (answer[1]["code"], answer[1]["error"]) == (-1, error)
    return str(answer[1]["msg"])


async def test_the_whole_flow(serve: Serve, join: Join, tmp_path: Path) -> None:
    server = await serve(livetalking=ON)
    client = join(server)
    await client.start()
    await client.viewer.until(lambda: client.viewer.frames >= 5 and client.viewer.loudness > 0.1, 20)
    assert float(client.sessionid) == int(client.sessionid) < 2**53, "older clients read it with parseInt"
    (session,) = server.sessions.all()
    assert (session.avatar_id, session.student_id) == ("ada", "livetalking")
    live = server.lives[0]

    events = await server.client.get(f"/sse?sessionid={client.sessionid}")
    assert await client.post("/human", text="Hello.", type="echo", interrupt=True) == OK
    assert live.said == [("Hello.", None)]
    assert live.generation == 1
    assert await asyncio.wait_for(events.content.readline(), 10) == b'data: {"status": "start", "text": "Hello."}\n'
    assert await client.post("/is_speaking") == (200, {"code": 0, "msg": "ok", "data": True})
    live.finish()
    await asyncio.wait_for(events.content.readline(), 10)
    assert await asyncio.wait_for(events.content.readline(), 10) == b'data: {"status": "end", "text": "all of it"}\n'
    assert await client.post("/is_speaking") == (200, {"code": 0, "msg": "ok", "data": False})
    assert await client.post("/human", text="What is light?", type="chat", sessionid=int(client.sessionid)) == OK
    await until(lambda: len(live.said) == 2)
    assert live.said[1][0] == "What is light?", "without a model it repeats"
    assert await client.post("/human", text="Ola.", type="echo", tts={"voice": "hibari:heart"}) == OK
    assert live.said[2] == ("Ola.", "hibari:heart")
    assert await client.post("/interrupt_talk") == OK
    assert live.waiting == []
    for file_first in (True, False):
        assert await client.send_audio(wav(), file_first=file_first) == OK
    await until(lambda: len(live.recordings) == 2)
    assert live.recordings[0][0] == 24_000

    assert await client.post("/record", type="start_record") == OK
    assert await client.post("/record", type="start_record") == OK
    assert session.recording_id is not None
    await filmed(server, session.recording_id, 0.6)
    assert await client.post("/record", type="end_record") == OK
    assert await client.post("/record", type="end_record") == OK
    film = await server.client.get(f"/record/{client.sessionid}")
    assert (film.status, film.content_type) == (200, "video/mp4")
    (tmp_path / "film.mp4").write_bytes(await film.read())
    assert read(tmp_path / "film.mp4").seconds > 0.5

    await client.close()
    await until(lambda: server.sessions.all() == [])
    assert live.closed, "a session ends with its connection"
    failed(await client.post("/human", text="Hello?", type="echo"), 404, "session_not_found")
    assert (await server.client.get(f"/record/{client.sessionid}")).status == 200, "its recording stays"


async def test_failures_have_their_shape_and_their_status(serve: Serve, join: Join) -> None:
    server = await serve(livetalking=ON, sessions={"max_sessions": 1})
    client = join(server)
    assert failed(await client.post("/human", text="a", type="echo"), 404, "session_not_found") == "session not found"
    failed(await client.post("/offer", sdp="nonsense", type="offer"), 400, "bad_sdp")
    assert server.sessions.all() == [], "a session that nobody can watch does not stay"
    failed(await client.post("/offer", sdp="v=0", type="answer"), 422, "invalid_request")
    failed(await client.post("/offer", sdp="v=0", type="offer", avatar="nobody"), 404, "not_found")
    await client.start(avatar="ada")
    second = join(server)
    message = failed(await second.post("/offer", sdp=await second.viewer.offer(), type="offer"), 503, "at_capacity")
    assert "No session can start now" in message
    failed(await client.post("/human", text=" ", type="echo"), 422, "invalid_request")
    failed(await client.post("/human", text="a", type="sing"), 422, "invalid_request")
    failed(await client.post("/human", text="a", type="echo", tts={"voice": "nobody"}), 422, "unknown_voice")
    failed(await client.post("/set_audiotype", audiotype=2), 501, "not_supported")
    failed(await client.send_audio(b"not a sound"), 422, "audio_unreadable")
    failed(await client.post("/record", type="pause_record"), 422, "invalid_request")
    answer = await server.client.get(f"/record/{client.sessionid}")
    failed((answer.status, await answer.json()), 404, "recording_not_found")
    answer = await server.client.post("/human", data=b"{")
    failed((answer.status, await answer.json()), 400, "invalid_json")
    answer = await server.client.post("/humanaudio")
    failed((answer.status, await answer.json()), 415, "unsupported_media_type")
    client.sessionid = "1"
    failed(await client.send_audio(wav()), 404, "session_not_found")
    assert not list(server.store.uploads.iterdir()), "no clip stays behind"


async def test_it_is_off_until_it_is_turned_on(serve: Serve, join: Join) -> None:
    server = await serve()
    message = failed(await join(server).post("/human", text="a", type="echo"), 404, "livetalking_off")
    assert "livetalking.enabled" in message


async def test_with_keys_a_session_needs_one_and_steering_it_its_number(serve: Serve, join: Join) -> None:
    server = await serve(livetalking=ON, server={"api_key": "school"})
    stranger = join(server)
    offer = {"sdp": await stranger.viewer.offer(), "type": "offer"}
    failed(await stranger.post("/offer", **offer), 401, "unauthorized")
    school = join(server, Authorization="Bearer school")
    await school.start()
    stranger.sessionid = str(int(school.sessionid) ^ 1)
    failed(await stranger.post("/human", text="a", type="echo"), 404, "session_not_found")
    stranger.sessionid = server.sessions.all()[0].id
    failed(await stranger.post("/human", text="a", type="echo"), 404, "session_not_found")
    stranger.sessionid = school.sessionid
    assert await stranger.post("/human", text="a", type="echo") == OK, "as its page has no key"
    failed(await stranger.post("/record", type="start_record"), 401, "unauthorized")
    assert (await server.client.get(f"/record/{school.sessionid}")).status == 401
    assert await school.post("/record", type="start_record") == OK


async def test_offers_may_be_opened(serve: Serve, join: Join) -> None:
    server = await serve(livetalking={**ON, "open_offer": True, "tutor": "t-ada"}, server={"api_key": "school"})
    client = join(server)
    await client.start()
    assert server.sessions.all()[0].tutor_id == "t-ada"
