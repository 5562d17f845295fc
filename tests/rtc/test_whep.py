"""WHEP over HTTP: a viewer comes, trickles and leaves; and everybody who should not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from aioice import Candidate

from server.admission import Limits
from server.problems import problem_middleware
from server.rtc import peer, private_ice
from server.rtc.ice_servers import time_limited
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from server.sessions import Session, Sessions
from server.whep import add_whep_routes
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive

Client = TestClient[web.Request, web.Application]
MakeClient = Callable[[web.Application], Awaitable[Client]]


@dataclass
class House:
    http: Client
    peers: PeerRegistry
    sessions: Sessions
    session: Session
    viewers: list[AiortcViewer]

    def headers(self, kind: str = "application/sdp", token: str | None = None, **more: str) -> dict[str, str]:
        return {"Content-Type": kind, "Authorization": f"Bearer {token or self.session.token}", **more}

    async def post(self, body: str | bytes, **more: str) -> ClientResponse:
        return await self.http.post(f"/v1/sessions/{self.session.id}/whep", data=body, headers=self.headers(**more))

    async def connected(self) -> tuple[AiortcViewer, ClientResponse]:
        viewer = AiortcViewer()
        self.viewers.append(viewer)
        response = await self.post(await viewer.offer())
        assert response.status == 201
        await viewer.accept(await response.text())
        await until(lambda: viewer.frames >= 3)
        return viewer, response


SETTINGS = RtcSettings(
    stun_server="stun:127.0.0.1:9", turn_server="turn:127.0.0.1:9", turn_username="u", turn_password="p", public_ip=""
)


@pytest.fixture
async def house(
    aiohttp_client: MakeClient, live: FakeLive, viewers: list[AiortcViewer], request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    async def open_live(session: Session) -> Any:
        return live

    async def close_live(session: Session, live: Any) -> None:
        return None

    sessions = Sessions(Limits(4, 60, 60, 60), open_live, close_live)
    peers = PeerRegistry(getattr(request, "param", RtcSettings()))
    app = web.Application(middlewares=[problem_middleware])
    add_whep_routes(app, sessions, peers)
    session = await sessions.create(avatar_id="ada", student_id="sam")
    yield House(await aiohttp_client(app), peers, sessions, session, viewers)
    await sessions.close()
    await peers.close()


async def problem(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = await response.json()
    assert body["code"] == code
    assert body["detail"]
    return body


async def test_a_viewer_comes_sees_and_leaves(house: House, live: FakeLive) -> None:
    _, response = await house.connected()
    assert response.content_type == "application/sdp"
    assert response.headers["ETag"].startswith('"')
    assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    place = response.headers["Location"]
    assert place.startswith(f"/v1/sessions/{house.session.id}/whep/")
    assert house.sessions.connected(house.session) == 1

    left = await house.http.delete(place, headers=house.headers())
    assert left.status == 200
    assert house.peers.count() == 0
    assert house.sessions.connected(house.session) == 0
    assert not live.viewers
    await problem(await house.http.delete(place, headers=house.headers()), 404, "viewer_not_found")


@pytest.mark.parametrize("house", [SETTINGS], indirect=True)
async def test_the_answer_links_the_ice_servers_and_does_not_wait_for_dead_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "SERVERS_SECONDS", 0.3)
    viewer = AiortcViewer()
    house.viewers.append(viewer)
    async with asyncio.timeout(4):
        response = await house.post(await viewer.offer())
    assert response.status == 201
    assert response.headers.getall("Link") == [
        '<stun:127.0.0.1:9>; rel="ice-server"',
        '<turn:127.0.0.1:9>; rel="ice-server"; username="u"; credential="p"; credential-type="password"',
    ]


RELAY = RtcSettings(turn_server="turn:127.0.0.1:9", turn_secret="north", ice_transport_policy="relay")


@pytest.mark.parametrize("house", [RELAY], indirect=True)
async def test_where_everything_is_relayed_a_dead_turn_server_is_named(house: House) -> None:
    viewer = AiortcViewer()
    house.viewers.append(viewer)
    answer = await house.post(await viewer.offer())
    body = await problem(answer, 503, "turn_unavailable")
    assert "did not answer in time" in body["detail"]
    assert answer.headers["Retry-After"] == "10"
    await until(lambda: house.peers.count() == 0)


@pytest.mark.parametrize("house", [RELAY], indirect=True)
async def test_links_carry_the_sessions_own_credentials(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def relay(*args: Any) -> list[Candidate]:
        return [Candidate("1", 1, "udp", 1, "203.0.113.9", 50000, "relay", "0.0.0.0", 9)]

    monkeypatch.setattr(private_ice, "_relay", relay)
    viewer = AiortcViewer()
    house.viewers.append(viewer)
    answer = await house.post(await viewer.offer())
    assert answer.status == 201, await answer.text()
    (link,) = answer.headers.getall("Link")
    found = re.search(r'username="(\d+:(\w+))"; credential="([^"]+)"', link)
    assert found is not None
    username, name, credential = found.groups()
    assert name == house.session.id
    assert credential == time_limited("north", name, int(username.partition(":")[0])).password


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "bad_sdp"),
        ("hello, please let me in", 400, "bad_sdp"),
        ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 400, "no_media"),
        (b"\xff\xfe\x00", 400, "bad_sdp"),
        (b"v=0\r\n" + b"a=x\r\n" * 20_000, 413, "too_large"),
    ],
)
async def test_what_is_no_offer_is_refused(house: House, body: str | bytes, status: int, code: str) -> None:
    await problem(await house.post(body), status, code)
    assert house.peers.count() == 0


async def test_an_offer_that_nothing_can_be_played_for_is_refused(house: House) -> None:
    viewer = AiortcViewer(direction="sendonly")
    house.viewers.append(viewer)
    await problem(await house.post(await viewer.offer()), 422, "no_media")


async def test_another_content_type_is_refused(house: House) -> None:
    response = await house.post("v=0", kind="application/json")
    await problem(response, 415, "unsupported_media_type")
    assert response.headers["Accept"] == "application/sdp"


async def test_an_unknown_session_and_a_wrong_token_are_refused(house: House) -> None:
    unknown = await house.http.post("/v1/sessions/nobody/whep", data="v=0", headers=house.headers())
    await problem(unknown, 404, "session_not_found")
    wrong = await house.post("v=0", token="not-the-token")
    await problem(wrong, 401, "wrong_token")
    assert wrong.headers["WWW-Authenticate"] == "Bearer"
    none = await house.http.post(
        f"/v1/sessions/{house.session.id}/whep", data="v=0", headers={"Content-Type": "application/sdp"}
    )
    await problem(none, 401, "wrong_token")


async def test_one_session_cannot_touch_anothers_viewer(house: House) -> None:
    _, response = await house.connected()
    other = await house.sessions.create(avatar_id="ada", student_id="eve")
    peer_id = response.headers["Location"].rsplit("/", 1)[1]
    headers = house.headers(token=other.token)
    await problem(
        await house.http.delete(f"/v1/sessions/{other.id}/whep/{peer_id}", headers=headers), 404, "viewer_not_found"
    )
    await problem(await house.http.delete(response.headers["Location"], headers=headers), 401, "wrong_token")
    assert house.peers.count() == 1


@pytest.mark.parametrize("house", [RtcSettings(max_peers_per_session=1)], indirect=True)
async def test_a_full_session_says_when_to_come_again(house: House) -> None:
    await house.connected()
    viewer = AiortcViewer()
    house.viewers.append(viewer)
    full = await house.post(await viewer.offer())
    await problem(full, 503, "at_capacity")
    assert int(full.headers["Retry-After"]) > 0
    assert house.sessions.connected(house.session) == 1


async def test_when_the_session_ends_its_viewers_go(house: House) -> None:
    await house.connected()
    await house.sessions.end(house.session, "deleted")
    await until(lambda: house.peers.count() == 0)
    await problem(await house.post("v=0"), 404, "session_not_found")


CANDIDATE = "a=candidate:1 1 udp 2113937151 192.0.2.9 5000 typ host\r\n"


async def test_candidates_are_trickled(house: House) -> None:
    _, response = await house.connected()
    place, tag = response.headers["Location"], response.headers["ETag"]

    async def patch(body: str, kind: str = "application/trickle-ice-sdpfrag", **more: str) -> ClientResponse:
        return await house.http.patch(place, data=body, headers=house.headers(kind, **more))

    taken = await patch(CANDIDATE + "a=end-of-candidates\r\n", **{"If-Match": tag})
    assert taken.status == 204
    assert (await patch(CANDIDATE, **{"If-Match": "*"})).status == 204
    await problem(await patch(CANDIDATE), 428, "etag_required")
    await problem(await patch(CANDIDATE, **{"If-Match": '"other"'}), 412, "etag_mismatch")
    await problem(await patch(CANDIDATE, kind="text/plain", **{"If-Match": tag}), 415, "unsupported_media_type")
    await problem(await patch("a=candidate:1\r\n", **{"If-Match": tag}), 400, "bad_sdp")
    await problem(await patch("words", **{"If-Match": tag}), 400, "bad_sdp")
    restart = "a=ice-ufrag:anew\r\na=ice-pwd:0123456789012345678901\r\n" + CANDIDATE
    await problem(await patch(restart, **{"If-Match": "*"}), 422, "ice_restart_unsupported")
    assert house.peers.count() == 1, "none of it hurt the connection"


async def test_options_say_what_can_be_done(house: House) -> None:
    endpoint = await house.http.options(f"/v1/sessions/{house.session.id}/whep")
    assert endpoint.status == 204
    assert endpoint.headers["Accept-Post"] == "application/sdp"
    resource = await house.http.options(f"/v1/sessions/{house.session.id}/whep/x")
    assert resource.headers["Allow"] == "PATCH, DELETE, OPTIONS"
    await problem(await house.http.get(f"/v1/sessions/{house.session.id}/whep"), 405, "method_not_allowed")
    await problem(await house.http.put(f"/v1/sessions/{house.session.id}/whep/x"), 405, "method_not_allowed")
