"""Both pages against the real server: a face that speaks in Chromium, and a clip that becomes a tutor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page, expect

from avatars.errors import AvatarError
from avatars.models import ModelsMissing, find
from server.app import build_app
from server.keys import SESSIONS, STORE
from server.sample import PICTURE
from server.settings import Settings
from tests.pages.clips import beginning
from tests.pages.conftest import OpenPage
from tests.pages.waiting import grows, stats, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SHARED = Path(os.environ.get("LECTERN_SHARED") or Path(__file__).resolve().parents[2].parent / "shared")
CLIP = SHARED / "media" / "idle-woman-1280x720-30fps.mp4"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[web.Application, str]]:
    """The server as `make run` starts it, without the sample tutor; and its address."""
    try:
        find()
    except ModelsMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{error}")
    folder = tmp_path_factory.mktemp("real") / "avatars"
    app = build_app(Settings(avatars={"dir": folder, "import_dirs": ()}))  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def clip() -> dict[str, Any]:
    """Five seconds of a real person where the shared clips are; the drawn sample portrait elsewhere."""
    if CLIP.is_file():
        return {"name": "rivera.mp4", "mimeType": "video/mp4", "buffer": beginning(CLIP, 5.2)}
    return {"name": "rivera.jpg", "mimeType": "image/jpeg", "buffer": PICTURE.read_bytes()}


async def test_from_a_clip_to_a_talk_and_away_again(real: tuple[web.Application, str], open_page: OpenPage) -> None:
    app, url = real
    teacher = await open_page(f"{url}/teacher")
    await teacher.set_input_files("#file", clip())
    await expect(teacher.locator("#chosen-video, #chosen-image").locator("visible=true")).to_have_count(1)
    await teacher.fill("#name", "Ms Rivera")
    await teacher.check("#consent")
    await teacher.click("#create")
    await expect(teacher.locator("#work-title")).to_have_text("Ms Rivera is ready", timeout=90_000)
    await expect(teacher.locator("#check-list .error")).to_have_count(0)
    await expect(teacher.locator('.item[data-id="ms-rivera"] .badge')).to_have_text("Ready")
    await teacher.fill("#sentence", "Hello, dear class.")
    await teacher.click("#say")
    await expect(teacher.locator("#captions")).to_contain_text("Hello", timeout=20_000)
    await expect(teacher.locator("#stage.playing")).to_be_visible()

    await student_talks(await open_page(f"{url}/?tutor=ms-rivera"))
    await until(lambda: len(app[SESSIONS].all()) == 1)  # the teacher's preview alone is left

    await teacher.get_by_label("Delete Ms Rivera").click()
    await teacher.click("#confirm [value=yes]")
    await expect(teacher.locator('.item[data-id="ms-rivera"]')).to_have_count(0)
    await until(lambda: not app[SESSIONS].all())
    with pytest.raises(AvatarError, match="no avatar"):
        app[STORE].get("ms-rivera")


async def student_talks(page: Page) -> None:
    """Start, hear and read a sentence, interrupt it, leave."""
    await expect(page.locator("#start-words")).to_have_text("Start with Ms Rivera")
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
