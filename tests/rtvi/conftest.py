"""The server with the sample's face, a stand-in model and a recogniser; another site's page with the public clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page

from server.keys import SESSIONS
from server.sessions import Session
from tests.conversation.model_server import ModelServer, model_server
from tests.needs import missing, whisper_folder
from tests.pages.conftest import chromium, watched_pages
from tests.pages.test_real import make_tutor, serving

BUNDLE = Path(__file__).resolve().parents[2] / "build" / "rtvi" / "page.js"

HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>RTVI</title>
<body><video autoplay playsinline muted></video><audio autoplay></audio><script type="module" src="page.js"></script>"""


@dataclass
class Site:
    """app, url: the server's. page_url: of the other site's page. voice: the file with what the student says there.
    model: answers. hears: a recogniser is there.
    """

    app: web.Application
    url: str
    page_url: str
    voice: Path
    model: ModelServer
    hears: bool

    async def session(self) -> tuple[Session, str]:
        """A new session, and where a client makes its offer."""
        async with aiohttp.ClientSession() as client:
            body = {"tutor_id": "ada", "student_id": "s1"}
            async with client.post(f"{self.url}/v1/sessions", json=body) as made:
                assert made.status == 201, await made.text()
                answer = await made.json()
        return self.app[SESSIONS].get(answer["session_id"]), self.url + answer["rtvi_url"]


@asynccontextmanager
async def other_site(voice: Path) -> AsyncIterator[str]:
    """Serves the page, and what the student says in it, at another origin than the server's."""
    app = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=HTML, content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(BUNDLE)

    async def speech(request: web.Request) -> web.FileResponse:
        return web.FileResponse(voice)

    app.add_routes([web.get("/", page), web.get("/page.js", script), web.get("/voice.wav", speech)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    if not BUNDLE.is_file():
        missing("the RTVI clients are not bundled; `make test` does it (tests/rtvi/bundle.sh)")
    recogniser = whisper_folder()
    voice = tmp_path_factory.mktemp("voice") / "student.wav"
    async with model_server(first_token=0.05, speed=40) as model, other_site(voice) as page_url:
        settings: dict[str, Any] = {
            "model": {"base_url": model.url, "name": "stand-in"},
            "server": {"allowed_origins": (page_url,)},
        }
        if recogniser is not None:
            settings["listening"] = {"model": str(recogniser), "language": "en"}
        async with serving(tmp_path_factory.mktemp("rtvi") / "avatars", **settings) as (app, url):
            await make_tutor(url)
            yield Site(app, url, page_url, voice, model, recogniser is not None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


Open = Callable[[], Awaitable[Page]]

CLOSED_CAMERA = "Cannot read properties of null (reading 'getAudioTracks')"
"""daily-js, inside the client, may look at its local stream once more when it has given it back."""


@pytest_asyncio.fixture(loop_scope="module")
async def open_client(browser: Browser, site: Site) -> AsyncIterator[Open]:
    """Opens the other site's page; at the end of the test it may not have thrown."""
    async with watched_pages(browser, known=CLOSED_CAMERA) as opener:

        async def open_one() -> Page:
            page = await opener(site.page_url)
            await page.wait_for_function("() => window.rtvi !== undefined")
            return page

        yield open_one
