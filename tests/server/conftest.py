"""A server on loopback with real avatars, real WebRTC and a session that is only pretended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from avatars.avatar import FPS
from avatars.master import MASTER, MasterWriter
from avatars.record import AvatarRecord
from avatars.store import FACES, PREVIEW, AvatarStore, write_record
from server import ws
from server.app import build_app
from server.keys import SESSIONS, STORE
from server.sessions import Sessions
from server.settings import Settings
from tests.server.fakes import FakeEngine, FakeSession, quiet_book

Client = TestClient[web.Request, web.Application]

WIDTH, HEIGHT, FRAMES = 64, 48, 3


def add_ready(root: Path, avatar_id: str, tutor_id: str = "", created: datetime | None = None) -> None:
    """An avatar as the builder leaves it, tiny."""
    folder = root / avatar_id
    folder.mkdir(parents=True)
    with MasterWriter(folder / MASTER, WIDTH, HEIGHT) as master:
        for shade in range(FRAMES):
            master.write(np.full((HEIGHT * 3 // 2, WIDTH), 100 + shade, np.uint8))
    np.savez(
        folder / FACES,
        landmarks=np.zeros((FRAMES, 468, 3), np.float32),
        box=np.tile(np.array([16, 8, 48, 40], np.float32), (FRAMES, 1)),
        mouth=np.tile(np.array([24, 24, 40, 36], np.int32), (FRAMES, 1)),
    )
    (folder / PREVIEW).write_bytes(b"\xff\xd8\xff\xd9")
    record = AvatarRecord(
        id=avatar_id,
        tutor_id=tutor_id,
        state="ready",
        stage="done",
        progress=1.0,
        width=WIDTH,
        height=HEIGHT,
        frames=FRAMES,
        fps=FPS,
        created_at=created or datetime.now(UTC),
    )
    write_record(folder, record)


@dataclass
class Running:
    """A server under test."""

    client: Client
    root: Path
    engine: FakeEngine
    lives: list[FakeSession] = field(default_factory=list)

    @property
    def store(self) -> AvatarStore:
        return self.app[STORE]

    @property
    def sessions(self) -> Sessions:
        return self.app[SESSIONS]

    @property
    def app(self) -> web.Application:
        app = self.client.app
        assert app is not None
        return app

    async def session(self, avatar_id: str = "ada", **more: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/sessions", json={"avatar_id": avatar_id, "student_id": "s1", **more})
        assert answer.status == 201, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


Serve = Callable[..., Awaitable[Running]]


def settings_in(folder: Path, **groups: dict[str, Any]) -> Settings:
    """Settings of a test server: its own folders, and groups as they are given."""
    # The machine that runs the tests is as busy as it likes.
    sessions = {"max_cpu_percent": 100, "max_loop_percent": 100, "max_late_ms": 0, **groups.pop("sessions", {})}
    avatars = {"dir": folder / "avatars", "import_dirs": (folder / "import",), **groups.pop("avatars", {})}
    secrets = {"keys_file": folder / "keys.json", "token_file": folder / "token.secret"}
    access = {**secrets, **groups.pop("access", {})}
    recording = {"dir": folder / "recordings", "least_free_gb": 0.0, **groups.pop("recording", {})}
    own = {"avatars": avatars, "sessions": sessions, "access": access, "recording": recording}
    return Settings(**own, **groups)  # type: ignore[arg-type]


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """`settings_in` the test's folder."""
    return partial(settings_in, tmp_path)


@pytest.fixture
async def serve(
    tmp_path: Path, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serve]:
    """`await serve(sessions={"max_sessions": 1}, …)`: a running server with the ready avatar "ada"."""
    # A test answers pings only while it reads from its socket, and may be held up elsewhere.
    monkeypatch.setattr(ws, "HEARTBEAT_SECONDS", 60.0)
    clients: list[Client] = []

    async def start(**groups: dict[str, Any]) -> Running:
        settings = settings_for(**groups)
        root = settings.avatars.dir
        if not (root / "ada").exists():
            add_ready(root, "ada", tutor_id="t-ada")
        (tmp_path / "import").mkdir(exist_ok=True)
        engine = FakeEngine()
        lives: list[FakeSession] = []

        def live(*args: Any, **more: Any) -> FakeSession:
            lives.append(FakeSession(*args, **more))
            return lives[-1]

        client = TestClient(TestServer(build_app(settings, engine=engine, book=quiet_book(), live=live)))  # type: ignore[arg-type]
        clients.append(client)
        await client.start_server()
        return Running(client, root, engine, lives)

    yield start
    for client in clients:
        await client.close()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's own environment must not reach the tests."""
    from server.settings import OPERATOR_NAMES, UNUSED_NAMES

    for name in (*OPERATOR_NAMES, *UNUSED_NAMES):
        monkeypatch.delenv(name, raising=False)


async def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer is that problem, in full form."""
    text = await answer.text()
    assert answer.status == status, text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = await answer.json()
    assert body["code"] == code, text
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
