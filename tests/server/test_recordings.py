"""Recordings that wait: few a session, bounded on disk, in the folder that a start cleans."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.media import SpeechChunk
from server.keys import RECORDINGS
from server.problems import ProblemError
from server.recordings import PER_SESSION, Recordings
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve, problem
from tests.server.test_sessions import wav
from tests.server.test_ws import heard

MB = 1 << 20
SECOND = 96_000


def refused(recordings: Recordings, session: str, clip: int, seconds: float) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        recordings.take(session, clip, seconds)
    assert caught.value.headers["Retry-After"]
    return caught.value


def test_what_they_take_is_bounded_and_given_back(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, 3 * MB)
    first = recordings.take("one", MB, 8.0)
    assert recordings.taken == MB + 10 * SECOND
    assert (refused(recordings, "two", MB, 8.0).status, recordings.taken) == (503, MB + 10 * SECOND)
    first.clip.write_bytes(b"x")
    first.decoded(3 * SECOND)
    assert recordings.taken == 3 * SECOND
    assert not first.clip.exists()
    second = recordings.take("two", MB, 8.0)
    assert second.folder != first.folder
    first.free()
    first.free()
    first.decoded(SECOND)
    second.free()
    assert (recordings.taken, list(tmp_path.iterdir())) == (0, [])


def test_a_place_is_freed_when_its_upload_fails(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, MB)

    def upload() -> None:
        with recordings.take("one", 1, 1.0) as place:
            place.clip.write_bytes(b"x")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        upload()
    assert (recordings.taken, list(tmp_path.iterdir())) == (0, [])


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.recordings.tempfile.mkdtemp", full)
    recordings = Recordings(tmp_path, MB)
    with pytest.raises(ProblemError) as caught:
        recordings.take("one", 1, 1.0)
    assert (caught.value.status, caught.value.code, recordings.taken) == (507, "disk_full", 0)


class Kept:
    """What a session that speaks slowly does with recordings: it keeps them."""

    def __init__(self, server: Running) -> None:
        self.recordings: list[AsyncIterator[SpeechChunk]] = []
        server.lives[-1].play = self.play  # type: ignore[method-assign]

    def play(self, chunks: AsyncIterator[SpeechChunk], text: str = "") -> str:
        self.recordings.append(chunks)
        return f"u{len(self.recordings)}"

    async def end(self, count: int) -> None:
        for recording in self.recordings[:count]:
            await recording.aclose()  # type: ignore[attr-defined]
        del self.recordings[:count]


async def test_few_wait_in_a_session_and_all_lie_in_the_folder_that_is_cleaned(serve: Serve) -> None:
    server = await serve()
    made: dict[str, Any] = await server.session()
    kept = Kept(server)
    url = f"/v1/sessions/{made['session_id']}/audio"
    answers = await asyncio.gather(*(server.client.post(url, data=wav(0.1)) for _ in range(PER_SESSION)))
    assert [answer.status for answer in answers] == [202] * PER_SESSION
    assert len(list(server.store.uploads.iterdir())) == PER_SESSION
    one_more = await server.client.post(url, data=wav(0.1))
    await problem(one_more, 429, "queue_full")
    assert one_more.headers["Retry-After"]
    async with server.client.ws_connect(made["engine_url"]) as socket:
        await socket.send_json({"type": "audio", "data": base64.b64encode(wav(0.1)).decode()})
        assert (await heard(socket, "error"))["code"] == "queue_full"
    taken = server.app[RECORDINGS]
    await until(lambda: taken.taken == PER_SESSION * 0.1 * SECOND)  # decoded: the clips themselves are gone
    assert not list(server.store.uploads.glob("*/clip"))
    await kept.end(1)
    assert len(list(server.store.uploads.iterdir())) == PER_SESSION - 1
    assert (await server.client.post(url, data=wav(0.1))).status == 202
    await kept.end(PER_SESSION)
    assert (taken.taken, list(server.store.uploads.iterdir())) == (0, [])


async def test_a_server_whose_room_is_taken_says_when_to_come_back(serve: Serve) -> None:
    server = await serve(sessions={"max_audio_mb": 1, "max_audio_seconds": 1, "audio_disk_mb": 2})
    url = f"/v1/sessions/{(await server.session())['session_id']}/audio"
    other = server.app[RECORDINGS].take("another session", 1_700_000, 0.0)
    answer = await server.client.post(url, data=wav(0.1))
    await problem(answer, 503, "busy")
    assert answer.headers["Retry-After"]
    other.free()
    assert (await server.client.post(url, data=wav(0.1))).status == 202
    assert (await server.client.post(url, data=b"0" * (2 << 20))).status == 413, "not that there is no room"
    await until(lambda: server.app[RECORDINGS].taken == 0)  # it was spoken
    assert list(server.store.uploads.iterdir()) == []


async def test_recordings_that_are_refused_leave_nothing(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    url = f"/v1/sessions/{made['session_id']}/audio"
    assert (await server.client.post(url, data=b"not sound" * 100)).status == 422
    assert (await server.client.post(url, data=b"")).status == 422
    async with server.client.ws_connect(made["engine_url"]) as socket:
        await socket.send_json({"type": "audio", "data": "not base64!"})
        assert (await heard(socket, "error"))["code"] == "bad_request"
    assert (server.app[RECORDINGS].taken, list(server.store.uploads.iterdir())) == (0, [])
