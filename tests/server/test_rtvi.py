"""RTVI over HTTP and the data channel, with an aiortc client: what is refused, and what the session does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from pipeline.events import Caption
from server.keys import PEERS
from tests.rtc.clients import AiortcViewer, until
from tests.server.conftest import Running, Serve, problem


class Client:
    """What the public client does, as far as the wire shows. got: the messages, in order."""

    def __init__(self, server: Running, path: str, headers: dict[str, str] | None = None) -> None:
        self.server, self.path, self.headers = server, path, headers or {}
        self.got: list[dict[str, Any]] = []
        self._connect()

    def _connect(self) -> None:
        self.viewer = AiortcViewer(direction="sendrecv")
        self.channel = self.viewer.pc.createDataChannel("chat", ordered=True)
        self.channel.on("message", lambda text: self.got.append(json.loads(text)))
        self.pc_id: str | None = None

    async def post(self, **more: Any) -> Any:
        body = {"sdp": await self.viewer.offer(), "type": "offer", "pc_id": None, "restart_pc": False, **more}
        return await self.server.client.post(self.path, json=body, headers=self.headers)

    async def connect(self, **more: Any) -> None:
        answer = await self.post(**more)
        assert answer.status == 200, await answer.text()
        body = await answer.json()
        assert body["type"] == "answer"
        self.pc_id = body["pc_id"]
        await self.viewer.accept(body["sdp"])
        await until(lambda: self.channel.readyState == "open")

    async def reconnect(self) -> None:
        """As the client does when its network broke: a new connection, then the old one closed."""
        old, pc_id = self.viewer, self.pc_id
        self._connect()
        await self.connect(pc_id=pc_id, restart_pc=True)
        await old.close()

    def send(self, kind: str, data: Any = None, request_id: str = "1") -> None:
        self.channel.send(json.dumps({"label": "rtvi-ai", "type": kind, "id": request_id, "data": data}))

    async def ready(self, version: str = "2.1.0") -> dict[str, Any]:
        self.send("client-ready", {"version": version, "about": {"library": "a test"}}, "r")
        return await self.tells("bot-ready")

    async def tells(self, kind: str, number: int = 1) -> dict[str, Any]:
        await until(lambda: len(self.all(kind)) >= number)
        return self.all(kind)[number - 1]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.got if each["type"] == kind]


Join = Callable[..., Awaitable[Client]]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """`await join(server, session)`: a client that is connected."""
    clients: list[Client] = []

    async def make(server: Running, session: dict[str, Any], path: str | None = None) -> Client:
        clients.append(Client(server, path or session["rtvi_url"]))
        await clients[-1].connect()
        return clients[-1]

    yield make
    for client in clients:
        await client.viewer.close()


async def test_ready_ask_hear_interrupt_and_leave(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)
    client.send("client-ready", {"version": "2.1.0"}, "r7")
    ready = await client.tells("bot-ready")
    assert ready["id"] == "r7"
    assert ready["label"] == "rtvi-ai"
    assert ready["data"]["version"] == "2.1.0"
    client.channel.send("ping: 1700000000000")

    client.send("send-text", {"content": " What is a verb? ", "options": {}})
    await client.tells("bot-started-speaking")
    assert [each["data"] for each in client.all("user-llm-text")] == [{"text": "What is a verb?"}]
    assert (await client.tells("bot-llm-text"))["data"] == {"text": "What is a verb?"}
    await until(lambda: server.lives[0].said == [("What is a verb?", None)])

    client.send("client-message", {"t": "interrupt"}, "i1")
    response = await client.tells("server-response")
    assert (response["id"], response["data"]) == ("i1", {"t": "interrupt", "d": {"generation": 1}})
    assert server.lives[0].waiting == []

    client.send("client-message", {"t": "say", "d": {"text": "Good bye.", "voice": "hibari:heart"}}, "s1")
    response = await client.tells("server-response", 2)
    assert response["data"]["d"]["utterance_id"] == server.lives[0].waiting[0]
    assert server.lives[0].said[-1] == ("Good bye.", "hibari:heart")
    client.send("append-to-context", {"role": "user", "content": "And a noun?", "run_immediately": True})
    await until(lambda: server.lives[0].said[-1][0].endswith("And a noun?"))
    client.send("client-message", {"t": "stay"}, "s2")
    assert (await client.tells("server-response", 3))["data"] == {"t": "stay", "d": {}}
    assert client.all("error") == client.all("error-response") == []

    await client.viewer.close()
    await until(lambda: server.app[PEERS].count() == 0)
    assert server.sessions.get(session["session_id"]).listeners == set()


async def test_nothing_is_told_before_the_client_is_ready(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)
    live = server.lives[0]
    live.say("Too early to be told.")
    live.on_event(Caption(live.waiting[0], 0, "Too", 0, 1))
    await client.ready()
    live.on_event(Caption(live.waiting[0], 1, "early", 1, 2))
    await client.tells("bot-tts-text")
    assert [each["data"]["text"] for each in client.all("bot-tts-text")] == ["early"]
    assert [each["type"] for each in client.got[:2]] == ["bot-ready", "bot-started-speaking"]


async def test_a_client_of_another_version_is_told_so_and_served(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, await server.session())
    await client.ready("1.4.0")
    assert client.got[0]["type"] == "error-response"
    assert "RTVI 2.1.0" in client.got[0]["data"]["error"]


@pytest.mark.parametrize(
    ("kind", "data", "code", "says"),
    [
        ("send-text", {"content": "x", "options": {"audio_response": False}}, "invalid_message", "audio_response"),
        ("send-text", {"content": "x", "options": {"run_immediately": False}}, "invalid_message", "run_immediately"),
        ("send-text", {"content": "  "}, "invalid_request", "empty"),
        ("send-text", {"content": "x" * 5001}, "too_large", "5000"),
        ("send-text", {}, "invalid_message", "content"),
        ("append-to-context", {"role": "user", "content": "x"}, "invalid_message", "run_immediately"),
        ("client-message", {"t": "juggle"}, "invalid_message", "interrupt, say or stay"),
        ("client-message", {"t": "say"}, "invalid_message", "text"),
        ("client-message", {"t": "say", "d": {"text": "x", "voice": "nobody"}}, "unknown_voice", "nobody"),
        ("dtmf", {"buttons": ["1"]}, "invalid_message", "not supported"),
    ],
)
async def test_messages_that_are_refused(
    serve: Serve, join: Join, kind: str, data: dict[str, Any], code: str, says: str
) -> None:
    server = await serve()
    client = await join(server, await server.session())
    await client.ready()
    client.send(kind, data, "x1")
    refused = await client.tells("error-response")
    assert refused["id"] == "x1"
    assert refused["data"]["code"] == code
    assert says in refused["data"]["error"]
    assert server.lives[0].said == []


async def test_what_is_no_message_is_told_as_an_error(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, await server.session())
    client.channel.send("hello")
    assert (await client.tells("error"))["data"]["code"] == "invalid_message"
    client.channel.send(b"hello")
    assert (await client.tells("error", 2))["data"]["code"] == "message_not_text"
    assert client.all("error")[1]["data"]["fatal"] is False


async def test_the_tutor_is_sent_away_and_its_session_stays(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)
    await client.ready()
    client.send("disconnect-bot")
    assert (await client.tells("signalling"))["message"] == {"type": "peerLeft"}
    await until(lambda: server.app[PEERS].count() == 0)
    assert not server.sessions.get(session["session_id"]).ended


async def test_a_session_that_ends_says_that_the_tutor_left(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)
    assert (await server.client.delete(f"/v1/sessions/{session['session_id']}")).status == 204
    assert (await client.tells("signalling"))["message"] == {"type": "peerLeft"}


async def test_a_connection_made_again_goes_on_without_a_new_ready(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)
    await client.ready()
    first = client.pc_id
    await client.reconnect()
    assert client.pc_id != first
    assert [entry.id for entry in server.app[PEERS].of(session["session_id"])] == [client.pc_id]
    server.lives[0].say("Are you there?")
    await client.tells("bot-started-speaking")
    assert client.all("signalling") == []
    assert len(server.sessions.get(session["session_id"]).listeners) == 1


async def test_the_same_offer_again_has_the_same_answer(serve: Serve, join: Join) -> None:
    server = await serve()
    client = Client(server, (await server.session())["rtvi_url"])
    try:
        first = await (await client.post()).json()
        again = await (await client.post(pc_id=first["pc_id"])).json()
        assert again == first
        sdp = client.viewer.pc.localDescription.sdp.replace("a=ice-ufrag:", "a=ice-ufrag:other")
        changed = await client.post(pc_id=first["pc_id"], sdp=sdp)
        await problem(changed, 422, "renegotiation_unsupported")
        await problem(await client.post(pc_id=first["pc_id"], sdp="v=0"), 400, "bad_sdp")
        await problem(await client.post(pc_id="another"), 404, "viewer_not_found")
    finally:
        await client.viewer.close()


async def test_candidates(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    client = await join(server, session)

    async def patch(**body: Any) -> Any:
        return await server.client.patch(client.path, json={"pc_id": client.pc_id, **body})

    good = {"candidate": "candidate:1 1 udp 2122260223 127.0.0.1 50000 typ host", "sdp_mid": "0", "sdp_mline_index": 0}
    taken = await patch(candidates=[good, {"candidate": "", "sdp_mid": "0", "sdp_mline_index": 0}])
    assert (taken.status, await taken.json()) == (200, {"status": "success"})
    await problem(await patch(candidates=[{"candidate": "candidate:nonsense"}]), 400, "bad_sdp")
    await problem(await patch(candidates=[good] * 33), 422, "invalid_request")
    await problem(await patch(candidates=[{"candidate": "x" * 2001}]), 422, "invalid_request")
    await problem(await patch(pc_id="another", candidates=[]), 404, "viewer_not_found")
    await problem(await patch(pc_id=None, candidates=[]), 422, "invalid_request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"sdp": "v=0", "type": "offer"}, 400, "bad_sdp"),
        ({"sdp": "v=0", "type": "answer"}, 422, "invalid_request"),
        ({"type": "offer"}, 422, "invalid_request"),
        ({"sdp": "v=0", "type": "offer", "pc_id": "x" * 101}, 422, "invalid_request"),
        ({"sdp": "x" * 70_000, "type": "offer"}, 400, "sdp_too_large"),
    ],
    ids=str,
)
async def test_offers_that_are_none(serve: Serve, body: dict[str, Any], status: int, code: str) -> None:
    server = await serve()
    session = await server.session()
    await problem(await server.client.post(session["rtvi_url"], json=body), status, code)
    text = await server.client.post(session["rtvi_url"], data="v=0", headers={"Content-Type": "application/sdp"})
    await problem(text, 415, "unsupported_media_type")


async def test_a_full_session_is_told_and_leaves_nothing_behind(serve: Serve, join: Join) -> None:
    server = await serve()
    session = await server.session()
    object.__setattr__(server.app[PEERS].settings, "max_peers_per_session", 1)
    await join(server, session)
    late = Client(server, session["rtvi_url"])
    try:
        await problem(await late.post(), 503, "at_capacity")
    finally:
        await late.viewer.close()
    assert len(server.sessions.get(session["session_id"]).listeners) == 1


async def test_the_token_is_needed_in_the_header_or_the_address(serve: Serve) -> None:
    server = await serve()
    session = await server.session()
    bare = session["rtvi_url"].partition("?")[0]
    client = Client(server, bare)
    try:
        await problem(await client.post(), 401, "wrong_token")
        await problem(await server.client.patch(bare, json={"pc_id": "x", "candidates": []}), 401, "wrong_token")
        client.path = bare + "?token=nonsense"
        await problem(await client.post(), 401, "wrong_token")
        client.path = bare.replace(session["session_id"], "nobody")
        await problem(await client.post(), 404, "session_not_found")
        client.path, client.headers = bare, {"Authorization": f"Bearer {session['engine_token']}"}
        await client.connect()
    finally:
        await client.viewer.close()


async def test_the_clients_own_start(serve: Serve, join: Join) -> None:
    server = await serve()
    for body in (
        {"avatar_id": "ada", "student_id": "s1"},
        {"body": {"avatar_id": "ada", "student_id": "s1"}, "createDailyRoom": False},
    ):
        answer = await server.client.post("/v1/rtvi/start", json=body)
        assert answer.status == 200, await answer.text()
        started = await answer.json()
        assert started["iceConfig"] == {"iceServers": []}
        assert server.sessions.get(started["sessionId"]).student_id == "s1"
        client = await join(server, {}, f"/v1/rtvi/sessions/{started['sessionId']}/api/offer")
        await client.ready()
        candidates = {"pc_id": client.pc_id, "candidates": []}
        assert (await server.client.patch(client.path, json=candidates)).status == 200
    await problem(await server.client.post("/v1/rtvi/start", json={}), 422, "invalid_request")
    await problem(await server.client.post("/v1/rtvi/start", json={"student_id": "s1"}), 422, "invalid_request")


async def test_starting_needs_the_key_where_there_is_one(serve: Serve) -> None:
    server = await serve(server={"api_key": "k"})
    body = {"avatar_id": "ada", "student_id": "s1"}
    await problem(await server.client.post("/v1/rtvi/start", json=body), 401, "unauthorized")
    key = {"Authorization": "Bearer k"}
    started = await (await server.client.post("/v1/rtvi/start", json=body, headers=key)).json()
    path = f"/v1/rtvi/sessions/{started['sessionId']}/api/offer"
    client = Client(server, path)
    try:
        await problem(await client.post(), 401, "unauthorized")
        client.headers = key
        await client.connect()
    finally:
        await client.viewer.close()
