"""Names and words that are markup stay words, on every page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.access.conftest import Found
from tests.pages.conftest import chromium, watched_pages
from tests.pages.fake_server import FakeServer

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

pytestmark = pytest.mark.browser


async def unharmed(page: Page) -> None:
    assert await page.evaluate("() => window.hacked") is None
    assert await page.locator('img[src="x"]').count() == 0


async def test_on_the_students_and_the_teachers_page() -> None:
    async with FakeServer() as server, chromium() as browser, watched_pages(browser) as open_page:
        (name,) = server.avatars
        server.avatars[name] |= {"tutor_name": EVIL, "tutor_id": EVIL}
        server.avatars["bad"] = {
            **server.record("bad", "failed", 1.0, "done"),
            "tutor_name": EVIL,
            "error": {"code": EVIL, "message": EVIL},
        }
        page = await open_page(server.url)
        await expect(page.locator("#start-words")).to_contain_text(EVIL)
        await page.click("#start")
        await expect(page.locator("#stage.playing")).to_be_visible()
        await page.fill("#text", EVIL)
        await page.press("#text", "Enter")
        await expect(page.locator(".bubble.student .said")).to_have_text(EVIL)
        await expect(page.locator(".bubble.tutor .said")).to_contain_text("window.hacked")
        (session,) = server.sessions.values()
        await server.tell(session, type="error", code=EVIL, message=EVIL)
        await expect(page.locator(".toast")).to_contain_text(EVIL)
        await unharmed(page)
        page = await open_page(f"{server.url}/teacher")
        await expect(page.locator('.item[data-id="bad"] h3')).to_have_text(EVIL)
        await page.locator('.item[data-id="bad"] button').first.click()
        await expect(page.locator("#work")).to_contain_text(EVIL)
        await unharmed(page)


async def test_on_the_operators_page(school: Found) -> None:
    there = await school()
    await there.session(student_id=EVIL, tutor_id=None)
    async with chromium() as browser, watched_pages(browser) as open_page:
        page = await open_page(str(there.server.client.make_url("/admin")))
        await page.fill("#key", there.keys["admin"])
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_contain_text(EVIL)
        await unharmed(page)
