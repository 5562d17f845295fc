"""Both pages against the real server: a face that speaks in Chromium, and a clip that becomes a tutor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from avatars.errors import AvatarError
from avatars.models import ModelsMissing, find
from server.app import build_app
from server.keys import BUILDER, SESSIONS, STORE
from server.sample import SAMPLE_ID, sample_order
from server.settings import Settings
from tests.pages.conftest import OpenPage
from tests.pages.waiting import grows, stats, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SHARED = Path(os.environ.get("LECTERN_SHARED") or Path(__file__).resolve().parents[2].parent / "shared")
CLIP = SHARED / "media" / "idle-woman-1280x720-30fps.mp4"


class Real:
    """The server as `make run` starts it, on any free port, with the sample tutor prepared."""

    def __init__(self, app: web.Application, url: str) -> None:
        self.app = app
        self.url = url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Real]:
    try:
        find()
    except ModelsMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{error}")
    root = tmp_path_factory.mktemp("real")
    settings = Settings(avatars={"dir": root / "avatars", "import_dirs": ()})  # type: ignore[arg-type]
    app = build_app(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        order = sample_order(app[STORE], root)
        assert order is not None
        await app[BUILDER].submit(order)
        async with asyncio.timeout(60):
            record = await app[BUILDER].wait(SAMPLE_ID)
        assert record.state == "ready", record.error
        yield Real(app, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def test_a_student_hears_and_sees_what_was_typed(real: Real, open_page: OpenPage) -> None:
    page = await open_page(f"{real.url}/?tutor={SAMPLE_ID}")
    await page.click("#start")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=20_000)
    await grows(page, "frames", 20)
    await grows(page, "currentTime", 0.5)
    quiet = (await stats(page))["audioEnergy"]

    await page.fill("#text", "Good morning. The sky is blue because the air scatters blue light more than red light.")
    await page.press("#text", "Enter")
    await expect(page.locator("#captions")).to_contain_text("morning", timeout=15_000)
    await grows(page, "audioEnergy", max(1e-4, quiet))
    await expect(page.locator(".bubble.tutor .said")).to_contain_text("The sky is")
    await page.keyboard.press("Escape")
    await expect(page.locator(".bubble.tutor .mark")).to_have_text("interrupted")
    said = await page.locator(".bubble.tutor .said").inner_text()
    assert said.startswith("Good morning.")
    assert "red light" not in said
    await grows(page, "frames", 10)  # the face goes on without words

    await page.goto("about:blank")
    await until(lambda: not real.app[SESSIONS].all())


@pytest.mark.shared
async def test_a_teachers_clip_becomes_a_tutor(real: Real, open_page: OpenPage) -> None:
    if not CLIP.is_file():
        pytest.skip(f"the clip is not here: {CLIP}")
    page = await open_page(f"{real.url}/teacher")
    await page.set_input_files("#file", CLIP)
    await expect(page.locator("#chosen-video")).to_be_visible()
    await page.fill("#name", "Ms Rivera")
    await page.check("#consent")
    await page.click("#create")
    await expect(page.locator("#work-title")).to_have_text("Ms Rivera is ready", timeout=90_000)
    await expect(page.locator("#check-list .error")).to_have_count(0)
    await expect(page.locator('.item[data-id="ms-rivera"] .badge')).to_have_text("Ready")

    await page.fill("#sentence", "Hello, dear class.")
    await page.click("#say")
    await expect(page.locator("#captions")).to_contain_text("Hello", timeout=20_000)
    await expect(page.locator("#stage.playing")).to_be_visible()

    await page.get_by_label("Delete Ms Rivera").click()
    await page.click("#confirm [value=yes]")
    await expect(page.locator('.item[data-id="ms-rivera"]')).to_have_count(0)
    with pytest.raises(AvatarError, match="no avatar"):
        real.app[STORE].get("ms-rivera")
