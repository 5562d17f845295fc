"""The example of docs/integration.md, run as it stands: a school's server, Lectern, and a student's browser."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import expect

from avatars import models
from server.access import key_file
from server.app import build_app
from server.settings import ROOT, Settings
from tests.needs import missing
from tests.pages.conftest import chromium, watched_pages
from tests.records.clips import face_clip
from tests.server.conftest import _clean_environment, settings_for
from tests.server.fakes import FakeEngine, quiet_book

__all__ = ["_clean_environment", "settings_for"]

EXAMPLE = ROOT / "examples" / "school"
BUILD_SECONDS = 150  # on a busy machine

pytestmark = pytest.mark.timeout(300)


@dataclass
class School:
    """The example under test. http: a client that keeps cookies, as a browser does."""

    url: str
    http: aiohttp.ClientSession

    async def make_tutor(self, video: bytes, name: str = "Ms. Rivera", consent: str = "true") -> aiohttp.ClientResponse:
        form = aiohttp.FormData({"name": name, "persona": "You are kind.", "consent": consent})
        form.add_field("video", video, filename="me.mp4", content_type="video/mp4")
        return await self.http.post("/tutors", data=form)

    async def get(self, path: str) -> Any:
        async with self.http.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@pytest.fixture(autouse=True)
def face_models() -> None:
    try:
        models.find()
    except models.ModelsMissing as error:
        missing(str(error))


Start = Callable[..., Awaitable[School]]


@pytest.fixture
async def start(settings_for: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Start]:
    """`await start()`: a real Lectern with a key, and the example beside it, in a process of its own with that key.

    quick: without voice and mouths, where nobody watches. key: another one than Lectern knows.
    """
    async with AsyncExitStack() as stack:

        async def begin(*, quick: bool = False, key: str = "") -> School:
            listening = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            settings = settings_for(
                avatars={"max_height": 240},
                server={"allowed_origins": [url]},
                access={"keys_file": tmp_path / "keys.json", "token_file": tmp_path / "tokens"},
            )
            _, known = key_file.add(settings.access.keys_file, "service", "the school")
            parts: dict[str, Any] = {"engine": FakeEngine(), "book": quiet_book()} if quick else {}
            lectern = TestServer(build_app(settings, **parts))
            stack.push_async_callback(lectern.close)
            await lectern.start_server()
            environment = {**os.environ, "LECTERN_URL": str(lectern.make_url("/")), "LECTERN_KEY": key or known}
            environment.pop("LECTERN_PUBLIC_URL", None)
            command = ["uvicorn", "--app-dir", str(EXAMPLE), "--fd", str(listening.fileno()), "school:app"]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *command, env=environment, pass_fds=[listening.fileno()], cwd=tmp_path
            )
            listening.close()  # the child has it
            stack.push_async_callback(_stop, process)
            jar = aiohttp.CookieJar(unsafe=True)
            client = aiohttp.ClientSession(url, cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=60))
            return School(url, await stack.enter_async_context(client))

        yield begin


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


@pytest.mark.browser
async def test_a_teacher_makes_a_tutor_and_a_student_has_a_lesson(start: Start) -> None:
    school = await start()
    answer = await school.make_tutor(face_clip())
    assert answer.status == 201, await answer.text()
    tutor = await answer.json()
    assert (tutor["id"], tutor["name"], tutor["avatar"]["state"]) == ("ms-rivera", "Ms. Rivera", "preparing")
    for _ in range(BUILD_SECONDS * 5):  # as the school's own page would
        tutor = await school.get("/tutors/ms-rivera")
        if tutor["avatar"]["state"] != "preparing":
            break
        await asyncio.sleep(0.2)
    assert tutor["avatar"]["state"] == "ready", tutor

    async with chromium() as browser, watched_pages(browser) as open_page:
        page = await open_page(f"{school.url}/login?name=li%20%E6%9D%8E&to=/lesson?tutor%3Dms-rivera")
        await expect(page.locator("#ask")).to_be_hidden()
        await page.click("#begin")
        await page.wait_for_function("document.querySelector('#tutor').videoHeight > 0", timeout=60_000)
        await expect(page.locator("#question")).to_be_visible()
        await page.fill("#question", "Good morning, dear class.")
        await page.keyboard.press("Enter")
        await expect(page.locator("#caption")).to_contain_text("class", timeout=60_000)
        before = await page.evaluate("document.querySelector('#tutor').currentTime")
        await page.wait_for_function(f"document.querySelector('#tutor').currentTime > {before} + 0.4")
        await page.click("#end")
        await expect(page.locator("#transcript li")).to_have_count(2, timeout=60_000)
        said, heard = await page.locator("#transcript li").all_text_contents()
        assert said == "You: Good morning, dear class."
        assert heard.startswith("Tutor: Good morning")
        await expect(page.locator("#ask")).to_be_hidden()
        assert await page.evaluate("document.querySelector('#tutor').srcObject === null")
        await page.click("#begin")  # another lesson
        await page.wait_for_function("document.querySelector('#tutor').videoHeight > 0", timeout=60_000)
        await expect(page.locator("#transcript li")).to_have_count(0)
        await page.click("#end")
        await expect(page.locator("#begin")).to_be_visible()

    async with school.http.get("/login?name=li%20%E6%9D%8E"):
        pass
    async with school.http.delete("/students/me") as answer:
        assert (await answer.json())["turns"] == 2


async def test_what_goes_wrong_is_told_to_the_schools_people(start: Start) -> None:
    school = await start(quick=True)

    async def told(answer: aiohttp.ClientResponse, status: int, code: str) -> None:
        body = await answer.json()
        assert (answer.status, body["code"]) == (status, code), body
        assert body["detail"]

    await told(await school.make_tutor(b"no video"), 422, "unreadable")
    await told(await school.make_tutor(b"no video", consent="false"), 422, "consent_required")
    assert (await school.get("/tutors"))["total"] == 0
    await told(await school.http.get("/tutors/nobody"), 404, "unknown_tutor")

    assert (await school.http.post("/lessons", json={"tutor_id": "nobody"})).status == 401
    await school.http.get("/login?name=li")
    await told(await school.http.post("/lessons", json={"tutor_id": "nobody"}), 404, "unknown_tutor")
    for method in ("GET", "DELETE"):
        path = "/lessons/somebody-elses" + ("/transcript" if method == "GET" else "")
        assert (await school.http.request(method, path)).status == 404


async def test_a_key_that_is_not_accepted_is_the_schools_own_fault(start: Start) -> None:
    school = await start(quick=True, key="not-a-key")
    answer = await school.http.get("/tutors")
    assert (answer.status, (await answer.json())["code"]) == (502, "lectern_key")
