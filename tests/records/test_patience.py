"""Who asks while the database stands still hears so in time: a client that waits five seconds sees the 503."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.records.conftest import fresh
from tests.server.conftest import Running, Serve

SOON = 4.5  # 3 s, and a busy machine
STEP = 0.05


class Stalls(threading.Thread):
    """Adds up the seconds for which the machine let this process wait: they are no patience of the server's.

    In a thread of its own: where the event loop waits for the database, it goes on and shows it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        before = time.monotonic()
        while not self._over.wait(STEP):
            now = time.monotonic()
            self.seconds += max(0.0, now - before - STEP)
            before = now

    def end(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    made = Stalls()
    made.start()
    yield made
    made.end()


@contextmanager
def within(seconds: float, stalls: Stalls, what: str) -> Iterator[None]:
    """It takes no longer, but for what the machine does meanwhile."""
    began = time.monotonic() - stalls.seconds
    yield
    assert time.monotonic() - stalls.seconds - began < seconds, what


Told = Callable[..., Awaitable[None]]


@pytest.fixture
def told(stalls: Stalls) -> Told:
    async def ask(server: Running, method: str, path: str, **more: Any) -> None:
        """503 with Retry-After, before a client has given up."""
        with within(SOON, stalls, path):
            answer = await server.client.request(method, path, **more)
            assert (answer.status, (await answer.json())["code"]) == (503, "records_unavailable"), await answer.text()
            assert "Retry-After" in answer.headers

    return ask


async def test_while_another_program_holds_sqlites_lock(serve: Serve, tmp_path: Path, told: Told) -> None:
    server = await serve()
    made = await server.session(tutor_id="t-ada")
    other = sqlite3.connect(tmp_path / "lectern.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    new = {"json": {"name": "Ada"}}
    many = [told(server, "POST", "/v1/tutors", **new) for _ in range(10)]  # more than there are connections
    await asyncio.gather(*many, told(server, "DELETE", "/v1/students/s9"))
    assert (await server.client.get(f"/v1/sessions/{made['session_id']}")).status == 200
    other.execute("COMMIT")
    other.close()
    assert (await server.client.post("/v1/tutors", **new)).status == 201


class Frozen:
    """Stands between the server and PostgreSQL, and passes nothing on any more when told so."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._pass, folder / self._target.name)
        try:
            yield
        finally:
            server.close()
            self.thaw()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


async def test_while_postgresql_stands_still(
    serve: Serve, postgres_sockets: Path, tmp_path_factory: pytest.TempPathFactory, told: Told, stalls: Stalls
) -> None:
    url = await fresh(postgres_sockets)
    folder = tmp_path_factory.mktemp("s")
    between = Frozen(postgres_sockets / ".s.PGSQL.5432")
    async with between.listening(folder):
        server = await serve(records={"database_url": url.replace(str(postgres_sockets), str(folder))})
        made = await server.session(tutor_id="t-ada")
        between.freeze()
        new = {"json": {"name": "Ada"}}
        session = {"json": {"tutor_id": "t-ada", "student_id": "s2"}}
        many = [told(server, "POST", "/v1/tutors", **new) for _ in range(6)]
        await asyncio.gather(*many, told(server, "DELETE", "/v1/students/s9"))
        await told(server, "POST", "/v1/sessions", **session)
        await told(server, "GET", "/v1/students/s1/transcripts")
        with within(2.0, stalls, "a session"):
            assert (await server.client.get(f"/v1/sessions/{made['session_id']}")).status == 200
        between.thaw()
        assert (await server.client.post("/v1/tutors", **new)).status == 201
        await server.client.close()
