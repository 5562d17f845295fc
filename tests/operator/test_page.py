"""The operator's page in Chromium, on the real server with pretended sessions."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientWebSocketResponse
from playwright.async_api import Page, Request, expect

from server.access import key_file
from tests.operator.test_admin import age
from tests.pages.conftest import OpenPage, chromium, watched_pages
from tests.rtc.clients import until
from tests.server.conftest import Running, Serve

pytestmark = pytest.mark.browser


@pytest.fixture
async def open_page() -> AsyncIterator[OpenPage]:
    async with chromium() as browser, watched_pages(browser) as opener:
        yield opener


async def admin(running: Running, open_page: OpenPage, **options: object) -> Page:
    return await open_page(str(running.client.make_url("/admin")), **options)


async def test_the_day_of_an_operator(serve: Serve, open_page: OpenPage) -> None:
    """Sees who is there, stops one, prunes what nobody uses, looks up a setting, in both languages; drains."""
    running = await serve(
        sessions={"max_sessions": 4, "first_seconds": 600}, webrtc={"turn_password": "turn-pass-word"}
    )
    for avatar_id, days in (("bob", 40), ("cleo", 3)):
        age(running, avatar_id, days)
    page = await admin(running, open_page)
    await expect(page.locator("#state-words")).to_have_text("Ready for students")
    await expect(page.locator("#sessions-note")).to_contain_text("Nobody is here now")

    made = await running.session(student_id="li-wei")  # it appears by itself, with its picture
    card = page.locator(f'.card[data-id="{made["session_id"]}"]')
    await expect(card.locator("h3")).to_have_text("li-wei")
    await expect(card.locator("img")).to_be_visible()
    await expect(page.locator('[data-name="sessions"] .bar-value')).to_have_text("1 of 4")
    await card.evaluate("node => { node.kept = true; }")
    socket = await running.client.ws_connect(made["engine_url"])
    await expect(card.locator(".badge")).to_have_text("Live")
    assert await card.evaluate("node => node.kept")  # written anew where it differs, not made anew

    said = await running.client.post(f"/v1/sessions/{made['session_id']}/say", json={"text": "Good morning."})
    assert said.status == 202
    assert (await running.client.post(f"/v1/sessions/{made['session_id']}/interrupt")).status == 200
    turn = page.locator("#turns .turn")
    await expect(turn.locator(".badge")).to_have_text("interrupted")
    await expect(turn.locator(".turn-about small")).to_have_text("said by the school · 13 characters · ada")
    await expect(card.locator(".card-about")).to_contain_text("with Ada ·")
    await expect(card.locator("dd").first).to_have_text(await turn.locator(".turn-sound").inner_text())

    await card.get_by_label("Stop the session of li-wei").click()
    await page.keyboard.press("Escape")  # not that easily
    assert len(running.sessions.all()) == 1
    await card.get_by_label("Stop the session of li-wei").click()
    await page.click("#confirm-yes")
    await expect(card).to_have_count(0)
    assert running.sessions.all() == []
    await socket.close()

    await page.fill("#days", "30")
    await page.click("#prune [type=submit]")
    await expect(page.locator("#going li")).to_have_count(1)
    await expect(page.locator("#going li")).to_contain_text("bob")
    assert (running.root / "bob").exists()
    await page.click("#prune-yes")
    await expect(page.locator("#confirm-text")).to_have_text("bob")
    await page.click("#confirm-yes")
    await expect(page.locator('#storage-rows [data-id="bob"]')).to_have_count(0)
    assert not (running.root / "bob").exists()
    assert (running.root / "cleo").exists()

    await expect(page.locator('#engines [data-name="musetalk"] .part-words')).to_contain_text("MUSETALK_BASE")
    await page.fill("#config-filter", "turn_pass")
    setting = page.locator('[data-key="webrtc.turn_password"]')
    await expect(setting.locator("dd")).to_have_text("********")
    await expect(page.locator(".setting:visible")).to_have_count(1)
    assert "turn-pass-word" not in await page.content()

    await page.click("#language")
    await expect(page.locator("h1")).to_have_text("运维")
    why = "它无法在此运行。 请用 lipsync.musetalk_base（MUSETALK_BASE）指定其模型所在的文件夹。"
    await expect(page.locator('#engines [data-name="musetalk"] .part-words')).to_have_text(why)
    await expect(page.locator("#state-words")).to_have_text("可以接待学生")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390

    await running.session(student_id="amara")
    await page.click("#drain")
    await expect(page.locator("#draining-line")).to_be_hidden()
    await page.click("#draining [value=no]")
    assert running.sessions.refusing is None
    await page.click("#drain")
    await page.select_option("#drain-for", "900")
    await page.click("#drain-yes")
    state = page.locator("#state-words")
    await expect(state).to_have_text(re.compile(r"^正在排空：不接受新会话 · 还有 1 个会话在进行 · 剩余 1[45]分钟$"))
    await expect(page.locator("#drain")).to_be_hidden()
    assert running.sessions.refusing == "draining"
    await page.click("#undrain")
    await expect(state).to_have_text("可以接待学生")
    assert running.sessions.refusing is None
    assert len(running.sessions.all()) == 1


async def test_a_key_is_asked_for_once_and_another_roles_is_told_so(
    serve: Serve, open_page: OpenPage, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    shown = {role: key_file.add(path, role, "")[1] for role in ("service", "admin")}
    running = await serve(access={"keys_file": path}, sessions={"first_seconds": 600})
    headers = {"Authorization": f"Bearer {shown['service']}"}
    await running.client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s1"}, headers=headers)
    page = await admin(running, open_page)
    questions = Questions(page)
    await expect(page.locator("#access")).to_be_visible()
    await page.click("#access [value=no]")
    await expect(page.locator("#other-key")).to_be_visible()
    await expect(page.locator("#access")).to_be_hidden()
    await page.click("#other-key")
    await page.fill("#key", "wrong")
    await page.click("#access [value=yes]")
    await expect(page.locator("#access-wrong")).to_be_visible()
    await page.fill("#key", shown["service"])
    await page.click("#access [value=yes]")
    await expect(page.locator("#away-words")).to_have_text("This key may not see operations; use an admin's.")
    for part in ("#state", "#drain", "#capacity-title", "#config-title"):
        await expect(page.locator(part)).to_be_hidden()
    await questions.settle()
    questions.asked.clear()
    await asyncio.sleep(5)  # twice the time between questions
    assert questions.asked == []
    await page.click("#other-key")
    await page.fill("#key", shown["admin"])
    await page.click("#access [value=yes]")
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.locator(".card img")).to_be_visible()  # pictures carry the key, too
    await expect(page.locator("#away")).to_be_hidden()


async def test_nothing_is_asked_while_nobody_looks_and_a_server_that_is_away_is_told(
    serve: Serve, open_page: OpenPage
) -> None:
    running = await serve()
    page = await admin(running, open_page)
    questions = Questions(page)
    await until(lambda: sum("/v1/admin/sessions" in url for url in questions.asked) >= 2)
    await questions.settle()  # it has its answers, and the next question is set
    await hide(page, hidden=True)
    await questions.settle()  # what is under way arrives
    questions.asked.clear()
    await asyncio.sleep(2.5)
    assert questions.asked == []
    await hide(page, hidden=False)
    await until(lambda: any("/v1/admin/sessions" in url for url in questions.asked))

    await page.route("**/v1/admin/**", lambda route: route.abort())
    await expect(page.locator("#away-words")).to_contain_text("doesn't answer")
    await page.unroute("**/v1/admin/**")
    await expect(page.locator("#away")).to_be_hidden()


async def test_who_drains_is_told_who_waits_and_who_sleeps_is_not_counted_as_here(
    serve: Serve, open_page: OpenPage
) -> None:
    limits = {"max_sessions": 1, "max_waiting": 3, "first_seconds": 600, "leave_seconds": 0.0}
    running = await serve(sessions=limits)
    made = await running.session(student_id="li-wei")
    async with running.client.ws_connect(made["engine_url"]) as socket:
        reading = asyncio.create_task(_read(socket))
        for student in ("amara", "tom"):
            body = {"avatar_id": "ada", "student_id": student, "wait": True}
            assert (await running.client.post("/v1/sessions", json=body)).status == 202
        page = await admin(running, open_page)
        pictures: list[str] = []
        page.on("request", lambda asked: pictures.append(asked.url) if "thumbnail" in asked.url else None)
        await expect(page.locator(".card")).to_have_count(3)
        await expect(page.locator(".card img:visible")).to_have_count(1)
        await expect(page.locator("#session-count")).to_have_text("1")
        await expect(page.locator("#session-beside")).to_have_text("2 in line")
        await expect(page.locator('[data-name="waiting"] .bar-value')).to_contain_text("2")
        await page.click("#drain")
        await expect(page.locator("#draining-line")).to_have_text("2 students wait in line: they lose their place.")
        await page.click("#drain-yes")
        await expect(page.locator("#state-words")).to_have_text("Draining: no new sessions · 1 session still runs")
        await expect(page.locator("#session-count")).to_have_text("1")
        await expect(page.locator("#session-beside")).to_be_hidden()
    await reading
    await expect(page.locator("#session-beside")).to_have_text("1 asleep")
    await expect(page.locator("#session-count")).to_have_text("0")
    assert {url.split("/")[-2] for url in pictures} == {made["session_id"]}  # the only one with a picture


async def _read(socket: ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


class Questions:
    """What a page asks the server: `asked`, the addresses so far."""

    def __init__(self, page: Page) -> None:
        self.asked: list[str] = []
        self._open: set[Request] = set()
        self._moved = time.monotonic()
        page.on("request", self._began)
        for over in ("requestfinished", "requestfailed"):
            page.on(over, self._ended)

    def _began(self, request: Request) -> None:
        self.asked.append(request.url)
        self._open.add(request)
        self._moved = time.monotonic()

    def _ended(self, request: Request) -> None:
        self._open.discard(request)
        self._moved = time.monotonic()

    async def settle(self, seconds: float = 0.8) -> None:
        """Until all is answered, and nothing was asked because of an answer for so long."""
        await until(lambda: not self._open and time.monotonic() - self._moved >= seconds)


async def hide(page: Page, *, hidden: bool) -> None:
    """As the browser does with a tab that is not in front."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
