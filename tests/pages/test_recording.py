"""A student sees that the session is recorded, for as long as it is."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.pages.conftest import OpenPage
from tests.pages.fake_server import FakeServer
from tests.pages.test_student import only, start

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_recording_is_shown_and_said_aloud(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    mark = page.locator("#recording")
    await start(page)
    await expect(mark).to_be_hidden()
    await server.tell(only(server), type="recording_started", recording_id="r1")
    await expect(mark).to_be_visible()
    await expect(mark).to_have_text("Recording")
    assert "microphone is not" in str(await mark.get_attribute("title"))
    await expect(page.locator("#announcer")).to_contain_text("This session is being recorded now.")
    dot = await mark.locator(".dot").evaluate("dot => getComputedStyle(dot).backgroundColor")
    red, green, blue = (int(part) for part in dot.removeprefix("rgb(").removesuffix(")").split(","))
    assert red > 2 * max(green, blue)
    await page.click("#language")
    await expect(mark).to_have_text("正在录制")
    await server.tell(only(server), type="recording_stopped", recording_id="r1", reason="stopped")
    await expect(mark).to_be_hidden()
    await expect(page.locator("#announcer")).to_contain_text("录制已停止")


async def test_who_comes_later_or_comes_back_sees_it_too(server: FakeServer, open_page: OpenPage) -> None:
    server.recording = True
    page = await open_page(server.url)
    await start(page)
    await expect(page.locator("#recording")).to_be_visible()
    server.recording = False  # it was stopped while the connection was broken
    await server.cut_sockets()
    await expect(page.locator("#recording")).to_be_hidden(timeout=15_000)
    await server.tell(only(server), type="recording_started", recording_id="r2")
    await expect(page.locator("#recording")).to_be_visible()
    await page.click("#leave")
    await expect(page.locator("#recording")).to_be_hidden()


async def test_it_is_shown_when_it_is_sent_on_and_hides_nothing(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url, viewport={"width": 390, "height": 844})
    server.recording = True
    await start(page)
    sent = page.locator("#outputs")
    await expect(sent).to_be_hidden()
    for name in ("o1", "o2"):
        await server.tell(only(server), type="output_started", output_id=name)
    await expect(sent).to_have_text("Being broadcast")
    await server.tell(only(server), type="output_stopped", output_id="o1")
    boxes = [
        await page.locator(name).bounding_box() for name in ("#recording", "#outputs", ".chip", "#status", "#doing")
    ]
    shown = [box for box in boxes if box]
    assert len(shown) >= 4
    for n, one in enumerate(shown):
        assert 0 <= one["x"] <= one["x"] + one["width"] <= 390
        for two in shown[n + 1 :]:
            apart = (
                one["x"] + one["width"] <= two["x"]
                or two["x"] + two["width"] <= one["x"]
                or one["y"] + one["height"] <= two["y"]
                or two["y"] + two["height"] <= one["y"]
            )
            assert apart, (one, two)
    await server.tell(only(server), type="output_stopped", output_id="o2")
    await expect(sent).to_be_hidden()
