"""The pages with keys on the real server: a student's link, a teacher's key; and what protects them."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.access.conftest import Found
from tests.pages.conftest import chromium, watched_pages


@pytest.mark.browser
async def test_a_students_link_and_a_teachers_key(school: Found) -> None:
    there = await school()
    made = await there.session(student_id="s7")
    home = str(there.server.client.make_url("/"))
    async with chromium() as browser, watched_pages(browser) as open_page:
        page = await open_page(f"{home}#session={made['session_id']}&token={made['engine_token']}")
        await expect(page.locator("#start-words")).to_have_text("Start with Ada")
        await expect(page.locator("#access")).to_be_hidden()
        kept = await page.evaluate("() => JSON.parse(sessionStorage.getItem('lectern.invitation')).token")
        assert kept != made["engine_token"]  # the page has a fresh one of its own
        assert (await there.ask("GET", f"/v1/sessions/{made['session_id']}", kept)).status == 200

        page = await open_page(f"{home}teacher")
        for shown in ("guess", made["engine_token"]):  # a student's token is no key
            await page.fill("#key", shown)
            await page.keyboard.press("Enter")
            await expect(page.locator("#access-wrong")).to_be_visible()
        await page.fill("#key", there.keys["teacher"])
        await page.keyboard.press("Enter")
        await expect(page.locator(".item")).to_have_count(1)

        page = await open_page(f"{home}admin")
        await page.locator("#key").fill(there.keys["teacher"])
        await page.keyboard.press("Enter")
        await expect(page.locator("#away-words")).to_have_text("This key may not see operations; use an admin's.")


async def test_every_page_has_the_strict_policy(school: Found) -> None:
    there = await school()
    for path in ("/", "/teacher", "/admin", "/docs", "/static/js/student.js", "/health", "/nothing", "/v1/avatars"):
        answer = await there.ask("GET", path)
        headers = answer.headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'", path
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'", path
        assert policy["frame-ancestors"] == "'self'", path
        assert policy["base-uri"] == "'none'", path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Server" not in headers or not re.search(r"\d", headers["Server"]), headers["Server"]
