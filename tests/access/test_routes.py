"""Every route and who may call it. A route that stands in no line of the table fails: somebody has to decide."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from aiohttp import web
from yarl import URL

from server.openapi.table import OPERATIONS
from server.sessions import Session
from tests.access.conftest import Found, School

Least = Literal["open", "session", "token", "teacher", "service", "admin"]

ROUTES: dict[str, Least] = {
    # pages, and what everybody may know
    "GET /": "open",
    "GET /teacher": "open",
    "GET /admin": "open",
    "GET /favicon.ico": "open",
    "GET /static/{path}": "open",
    "GET /docs": "open",
    "GET /docs/{file}": "open",
    "GET /openapi.json": "open",
    "GET /health": "open",
    "GET /livez": "open",
    "GET /readyz": "open",
    "OPTIONS /v1/sessions/{session_id}/whep": "open",
    "OPTIONS /v1/sessions/{session_id}/whep/{peer_id}": "open",
    # a session's own
    "GET /v1/sessions/{session_id}": "session",
    "DELETE /v1/sessions/{session_id}": "session",
    "POST /v1/sessions/{session_id}/ask": "session",
    "POST /v1/sessions/{session_id}/say": "session",
    "POST /v1/sessions/{session_id}/audio": "session",
    "POST /v1/sessions/{session_id}/interrupt": "session",
    "POST /v1/sessions/{session_id}/token": "session",
    "GET /v1/sessions/{session_id}/stats": "session",
    "GET /v1/sessions/{session_id}/events": "session",
    "GET /v1/sessions/{session_id}/preview.jpg": "session",
    "POST /v1/rtvi/sessions/{session_id}/api/offer": "session",
    "PATCH /v1/rtvi/sessions/{session_id}/api/offer": "session",
    "GET /ws/{session_id}": "token",
    "POST /v1/sessions/{session_id}/whep": "token",
    "PATCH /v1/sessions/{session_id}/whep/{peer_id}": "token",
    "DELETE /v1/sessions/{session_id}/whep/{peer_id}": "token",
    "POST /v1/sessions/{session_id}/rtvi": "token",
    "PATCH /v1/sessions/{session_id}/rtvi": "token",
    # what teachers make, and how they try it
    "POST /v1/avatars": "teacher",
    "POST /v1/avatars/upload": "teacher",
    "GET /v1/avatars": "teacher",
    "GET /v1/avatars/{avatar_id}": "teacher",
    "DELETE /v1/avatars/{avatar_id}": "teacher",
    "GET /v1/avatars/{avatar_id}/events": "teacher",
    "GET /v1/avatars/{avatar_id}/preview.jpg": "teacher",
    "POST /v1/tutors": "teacher",
    "GET /v1/tutors": "teacher",
    "GET /v1/tutors/{tutor_id}": "teacher",
    "PATCH /v1/tutors/{tutor_id}": "teacher",
    "DELETE /v1/tutors/{tutor_id}": "teacher",
    "POST /v1/sessions": "teacher",
    "GET /v1/voices": "teacher",
    # the school's own server, and what watches ours
    "GET /v1/sessions": "service",
    "GET /v1/webrtc/config": "service",
    "POST /v1/rtvi/start": "service",
    "GET /metrics": "service",
    "GET /v1/records/sessions": "service",
    "GET /v1/students/{student_id}/transcripts": "service",
    "DELETE /v1/students/{student_id}": "service",
    "POST /v1/sessions/{session_id}/recording": "service",
    "DELETE /v1/sessions/{session_id}/recording": "service",
    "GET /v1/recordings": "service",
    "GET /v1/recordings/{recording_id}": "service",
    "GET /v1/recordings/{recording_id}/file": "service",
    "DELETE /v1/recordings/{recording_id}": "service",
    "POST /v1/sessions/{session_id}/outputs": "service",
    "GET /v1/sessions/{session_id}/outputs": "service",
    "GET /v1/sessions/{session_id}/outputs/{output_id}": "service",
    "DELETE /v1/sessions/{session_id}/outputs/{output_id}": "service",
    # LiveTalking's clients: whoever knows a session's number; its own tests show that nobody else may
    "POST /offer": "service",
    "POST /human": "open",
    "POST /humanaudio": "open",
    "POST /interrupt_talk": "open",
    "POST /is_speaking": "open",
    "POST /set_audiotype": "open",
    "POST /record": "service",
    "GET /record/{sessionid}": "service",
    "GET /sse": "open",
    # the operator
    "GET /v1/admin/sessions": "admin",
    "GET /v1/admin/sessions/{session_id}": "admin",
    "DELETE /v1/admin/sessions/{session_id}": "admin",
    "GET /v1/admin/sessions/{session_id}/thumbnail.jpg": "admin",
    "GET /v1/admin/capacity": "admin",
    "GET /v1/admin/turns": "admin",
    "GET /v1/admin/drain": "admin",
    "POST /v1/admin/drain": "admin",
    "DELETE /v1/admin/drain": "admin",
    "GET /v1/admin/engines": "admin",
    "GET /v1/admin/voices": "admin",
    "GET /v1/admin/avatars/builds": "admin",
    "POST /v1/admin/avatars/prune": "admin",
    "GET /v1/admin/storage": "admin",
    "GET /v1/admin/config": "admin",
}

HOW = (
    "Decide who may call it: its handler calls require_teacher, require_service, require_admin or session_of of "
    "server/security.py (nothing, where everybody may), and it gets a line in ROUTES of tests/access/test_routes.py."
)
REACH: dict[str, frozenset[Least]] = {
    "nobody": frozenset({"open"}),
    "wrong key": frozenset({"open"}),
    "other student": frozenset({"open"}),
    "student": frozenset({"open", "session", "token"}),
    "teacher": frozenset({"open", "teacher"}),
    "service": frozenset({"open", "teacher", "service", "session"}),
    "admin": frozenset({"open", "teacher", "service", "session", "admin"}),
}
"""Of whom, how far."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def undecided(app: web.Application) -> list[str]:
    return [name for name in _routes(app) if name.replace("HEAD ", "GET ") not in ROUTES]


def _routes(app: web.Application) -> list[str]:
    """Those that end others' calls come last."""
    found = [
        f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.resource is not None
    ]
    return sorted(found, key=lambda name: ("drain" in name, found.index(name)))


class Room:
    """Two students in sessions of their own; who is sent away gets a new one."""

    def __init__(self, there: School) -> None:
        self.there = there

    async def start(self) -> None:
        self.mine, self.other = await self._new(), await self._new()

    async def _new(self) -> Session:
        return await self.there.server.sessions.create(avatar_id="ada", student_id="s")

    async def call(self, method: str, path: str, who: str) -> Any:
        """`who` on the session `mine`. The answer's beginning is enough: some never end."""
        if self.mine.ended:
            self.mine = await self._new()
        shown = {
            "nobody": None,
            "wrong key": "lk_abcdefgh_" + "x" * 43,
            "student": self.mine.token,
            "other student": self.other.token,
        }.get(who, who)
        made_up = {"session_id": self.mine.id, "avatar_id": "ada", "path": "favicon.svg", "file": "none"}
        address = re.sub(r"\{(\w+)\}", lambda found: made_up.get(found[1], "none"), path)
        answer = await self.there.ask(method, address, shown, json={}, timeout=60)
        code = ""
        if answer.content_type == "application/problem+json" and method != "HEAD":
            code = (await answer.json())["code"]
        answer.close()
        return answer.status, code


@pytest.fixture
async def room(school: Found) -> Room:
    there = await school(
        access={"failures_per_minute": 0},
        sessions={"max_sessions": 1000, "first_seconds": 3600},  # nobody joins them, however long it takes
        server={"api_key": "an operator's own key"},
        livetalking={"enabled": True},
    )
    made = Room(there)
    await made.start()
    return made


async def test_for_every_route_it_is_decided_who_may_call_it(room: Room) -> None:
    app = room.there.server.app
    assert not undecided(app), f"{undecided(app)}: {HOW}"
    gone = set(ROUTES) - set(_routes(app))
    assert not gone, f"{gone}: there are no such routes any more."


def test_a_new_route_is_noticed() -> None:
    async def new(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/health", new)
    app.router.add_post("/v1/new/{thing}", new)
    assert undecided(app) == ["POST /v1/new/{thing}"]


@pytest.mark.parametrize("who", REACH)
async def test_everybody_reaches_what_is_theirs_and_nothing_else(room: Room, who: str) -> None:
    wrong = []
    for name in _routes(room.there.server.app):
        method, path = name.split(" ")
        least = ROUTES.get(name.replace("HEAD ", "GET "))
        if least is None:
            continue  # the first test tells
        status, code = await room.call(method, path, who)
        if least in REACH[who]:
            fine = status not in (401, 403) and code not in ("session_not_found", "unauthorized")
        elif who in ("teacher", "service") and least != "token":
            fine = status == 403
        else:
            fine = status == 401
        if not fine:
            wrong.append(f"{who}: {name} ({least}) answered {status} {code}")
    assert not wrong, "\n".join(wrong)
    assert not room.other.ended
    assert len(room.there.server.store.list()) == 1


async def test_a_students_token_opens_nothing_but_its_session(room: Room) -> None:
    """Every address by every method, with the token of one student, on another's session and on everything else."""
    wrong, tried = [], 0
    app = room.there.server.app
    addresses = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    known = set(_routes(app))
    for path in sorted(addresses):
        for method in METHODS:
            least = ROUTES.get(f"{method} {path}".replace("HEAD ", "GET ")) if f"{method} {path}" in known else None
            status, code = await room.call(method, path, "other student")
            tried += 1
            if least != "open" and status not in (401, 403, 404) and not (least is None and status == 405):
                wrong.append(f"{method} {path} answered {status} {code}")
    assert not wrong, "\n".join(wrong)
    assert tried == len(addresses) * len(METHODS)
    assert not room.mine.ended
    assert room.there.server.sessions.all() == [room.mine, room.other]


async def test_no_spelling_of_an_address_leads_into_anothers_session(room: Room) -> None:
    mine, other, client = room.mine, room.other, room.there.server.client
    server = str(client.make_url("/")).rstrip("/")
    token = {"Authorization": f"Bearer {mine.token}"}
    paths = (
        f"/v1/sessions/{mine.id}/../{other.id}",
        f"/v1/sessions/{mine.id}/%2e%2e/{other.id}",
        f"/v1/sessions/{mine.id}%2f..%2f{other.id}",
        f"/v1/sessions/{mine.id}/..%2f{other.id}",
        f"//v1/sessions/{other.id}",
        f"/v1/sessions//{other.id}",
        f"/v1/sessions/{other.id}/",
        f"/v1/sessions/{other.id.upper()}",
        f"/v1/sessions/{other.id}%00",
        f"/v1/sessions/{other.id};{mine.id}",
        f"/v1/sessions/{other.id}?session_id={mine.id}",
        f"/v1/sessions/{other.id}?token={mine.token}&token={other.token}",
        f"/ws/{other.id}?token={mine.token}",
    )
    for path in paths:
        for method in ("GET", "DELETE"):
            url = URL(server + path, encoded=True)
            answer = await client.session.request(method, url, headers=token, allow_redirects=False)
            assert answer.status in (401, 404, 405), (method, path, answer.status)
    assert not other.ended


def test_the_openapi_document_tells_the_same() -> None:
    told = {f"{operation.method} {operation.path}": operation.role for operation in OPERATIONS}
    differ = {
        name: (role, ROUTES.get(name))
        for name, role in told.items()
        if role.replace("bearer", "token") != ROUTES.get(name)
    }
    assert not differ, f"server/openapi says, ROUTES says: {differ}"
