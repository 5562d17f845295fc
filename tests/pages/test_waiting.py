"""The student page in the waiting line, and when a conversation is about to end."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.pages.conftest import OpenPage
from tests.pages.fake_server import FakeServer, FakeSession, refuse
from tests.pages.test_student import only, start
from tests.pages.waiting import grows, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def stand(server: FakeServer, ahead: int) -> list[FakeSession]:
    """A full server whose line has so many others in it."""
    server.seats = 0
    others = [FakeSession(f"other{number}", "token", "ms-chen") for number in range(ahead)]
    server.waiting += others
    return others


async def wait_in_line(server: FakeServer, open_page: OpenPage, lang: str = "en-US", width: int = 1280) -> Page:
    page = await open_page(server.url, locale=lang, viewport={"width": width, "height": 800})
    await page.click("#start")
    await expect(page.locator("#notice")).to_be_visible()
    return page


def mine(server: FakeServer) -> FakeSession:
    return next(session for session in server.waiting if session.id in server.sessions)


async def nothing_to_say(page: Page) -> None:
    for part in ("#text", "#hello", ".try >> nth=0", "#voice"):
        await expect(page.locator(part)).to_be_hidden()


async def test_the_place_is_told_kept_up_to_date_and_the_tutor_comes_by_itself(
    server: FakeServer, open_page: OpenPage
) -> None:
    others = await stand(server, 2)
    server.estimate = 120
    page = await wait_in_line(server, open_page)
    await expect(page.locator("#notice-title")).to_have_text("You are 3rd in line")
    await expect(page.locator("#notice-text")).to_contain_text("About 2 minutes to go")
    await expect(page.locator("#status-words")).to_have_text("In line")
    await expect(page.locator("#controls")).to_be_hidden()
    assert await page.title() == "(3) Lectern – talk with your tutor"

    await nothing_to_say(page)

    server.waiting.remove(others[0])
    server.estimate = 30
    await server.move_up()
    await expect(page.locator("#notice-title")).to_have_text("You are 2nd in line")
    await expect(page.locator("#announcer")).to_contain_text("You are 2nd in line")
    await expect(page.locator("#notice-text")).to_contain_text("Less than a minute")
    server.waiting.remove(others[1])
    server.estimate = None
    await server.move_up()
    await expect(page.locator("#notice-title")).to_have_text("You are next in line")
    await page.click("#language")
    await expect(page.locator("#notice-title")).to_have_text("下一位就是你")
    assert (await page.title()).startswith("(1) ")
    await page.click("#language")

    session = mine(server)
    await server.seat(session)
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#controls")).to_be_visible()
    await expect(page.locator("#text")).to_be_visible()
    await expect(page.locator("#hello")).to_be_visible()
    assert not (await page.title()).startswith("(")
    assert [message["type"] for message in session.heard] == ["init"], "nothing was said before its turn"
    await grows(page, "frames", 5)
    assert len(server.created) == 1


async def test_the_line_can_be_left(server: FakeServer, open_page: OpenPage) -> None:
    await stand(server, 1)
    page = await wait_in_line(server, open_page)
    session = mine(server)
    await page.click("#notice-retry")
    await until(lambda: session.id in server.ended)
    await expect(page.locator("#notice-title")).to_have_text("The conversation has ended")
    await expect(page.locator("#status-words")).to_have_text("Ended")
    await nothing_to_say(page)
    assert session not in server.waiting


async def test_a_page_that_goes_away_leaves_the_line(server: FakeServer, open_page: OpenPage) -> None:
    await stand(server, 0)
    page = await wait_in_line(server, open_page)
    await page.goto("about:blank")
    await until(lambda: server.waiting == [])


async def test_the_place_is_looked_after_when_the_network_breaks(server: FakeServer, open_page: OpenPage) -> None:
    others = await stand(server, 1)
    page = await wait_in_line(server, open_page)
    await expect(page.locator("#notice-title")).to_have_text("You are 2nd in line")
    await server.cut_sockets()
    await until(lambda: mine(server).sockets)
    server.waiting.remove(others[0])
    await server.move_up()
    await expect(page.locator("#notice-title")).to_have_text("You are next in line")
    session = mine(server)
    await server.cut_sockets()
    server.waiting.remove(session)  # its turn comes while nobody can tell it
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    assert len(server.created) == 1


async def test_a_place_that_is_lost_is_taken_anew(server: FakeServer, open_page: OpenPage) -> None:
    await stand(server, 0)
    page = await wait_in_line(server, open_page)
    lost = mine(server)
    server.waiting.append(FakeSession("other", "token", "ms-chen"))
    server.sessions.pop(lost.id)
    server.waiting.remove(lost)
    for socket in list(lost.sockets):
        await socket.close()
    await expect(page.locator("#notice-title")).to_have_text("You are 2nd in line")
    assert len(server.created) == 2


async def test_a_turn_that_fails_is_explained(server: FakeServer, open_page: OpenPage) -> None:
    await stand(server, 0)
    page = await wait_in_line(server, open_page)
    session = mine(server)
    await server.tell(session, type="error", code="not_found", message="There is no such avatar.")
    await server.tell(session, type="session_ended", reason="not_started")
    await server.drop(session)
    await expect(page.locator("#notice-text")).to_have_text("This tutor doesn't exist any more.")
    await expect(page.locator("#status-words")).to_have_text("Not connected")


async def test_a_server_that_is_being_stopped_says_so(server: FakeServer, open_page: OpenPage) -> None:
    server.refuse_session = [lambda: refuse(503, "draining", "Stopped.", **{"Retry-After": "30"})]
    page = await open_page(server.url)
    await page.click("#start")
    await takes_a_break(page)
    await stand(server, 0)
    await page.click("#notice-retry")
    await expect(page.locator("#notice-title")).to_have_text("You are next in line")
    session = mine(server)
    await server.tell(session, type="error", code="draining", message="Stopped.")
    await server.tell(session, type="session_ended", reason="draining")
    await server.drop(session)
    await takes_a_break(page)
    await page.click("#language")
    await expect(page.locator("#notice-title")).to_have_text("服务器暂停服务")


async def takes_a_break(page: Page) -> None:
    await expect(page.locator("#notice-title")).to_have_text("The server takes a break")
    text = "New lessons cannot start now. Please try again in a few minutes."
    await expect(page.locator("#notice-text")).to_have_text(text)


async def test_a_server_that_goes_out_of_service_says_so(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(server.url)
    await start(page)
    session = only(server)
    words = page.locator("#ending-words")
    await server.tell(session, type="server_draining", seconds=None)
    await expect(words).to_contain_text("Finish in your own time")
    await server.tell(session, type="server_draining", seconds=90)
    await expect(words).to_contain_text("takes a break in 1:")
    await expect(page.locator("#ending-stay")).to_be_hidden()
    await server.tell(session, type="session_continues", reason="draining")
    await expect(page.locator("#ending")).to_be_hidden()


@pytest.mark.parametrize("reason", ["idle", "max_duration"])
async def test_the_end_is_told_before_and_explained_after(server: FakeServer, open_page: OpenPage, reason: str) -> None:
    page = await open_page(server.url)
    await start(page)
    session = only(server)
    await server.tell(session, type="session_ending", seconds=60, reason=reason)
    await expect(page.locator("#ending-words")).to_contain_text("ends in 0:5")
    await expect(page.locator("#announcer")).to_contain_text("ends in 60 seconds")
    if reason == "idle":
        await page.click("#ending-stay")
        await until(lambda: session.heard[-1]["type"] == "stay")
        await server.tell(session, type="session_continues", reason="idle")
        await expect(page.locator("#ending")).to_be_hidden()
        await server.tell(session, type="session_ending", seconds=5, reason="idle")
    else:
        await expect(page.locator("#ending-stay")).to_be_hidden()
    await server.tell(session, type="session_ended", reason=reason)
    title = "The conversation was closed" if reason == "idle" else "Your time is up"
    await expect(page.locator("#notice-title")).to_have_text(title)
    await expect(page.locator("#ending")).to_be_hidden()
    await server.drop(session)
    await page.click("#notice-retry")
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)
    assert len(server.created) == 2


async def test_a_server_that_stops_and_comes_back_is_found_again(server: FakeServer, open_page: OpenPage) -> None:
    """It tells that it stops; the session is not known when the page looks for it, and that was not meant."""
    page = await open_page(server.url)
    await start(page)
    session = only(server)
    await server.tell(session, type="session_ended", reason="shutdown")
    await server.drop(session)
    await until(lambda: len(server.created) == 2)
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)


@pytest.mark.parametrize("lang", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_it_fits(server: FakeServer, open_page: OpenPage, lang: str, width: int) -> None:
    await stand(server, 11)
    server.estimate = 600
    page = await wait_in_line(server, open_page, lang, width)
    words = "You are 12th in line" if lang == "en-US" else "你排在第 12 位"
    await expect(page.locator("#notice-title")).to_have_text(words)
    await inside(page, "#notice", width)
    await server.seat(mine(server))
    await expect(page.locator("#stage")).to_have_attribute("data-state", "live", timeout=15_000)
    await server.tell(only(server), type="session_ending", seconds=60, reason="idle")
    await inside(page, "#ending", width)
    button = await page.locator("#ending-stay").bounding_box()
    assert button is not None
    assert button["height"] >= 40


async def inside(page: Page, selector: str, width: int) -> None:
    await expect(page.locator(selector)).to_be_visible()
    await page.locator(selector).evaluate("(box) => Promise.all(box.getAnimations().map((each) => each.finished))")
    box = await page.locator(selector).bounding_box()
    stage = await page.locator("#stage").bounding_box()
    assert box is not None
    assert stage is not None
    assert box["x"] >= stage["x"]
    assert box["x"] + box["width"] <= stage["x"] + stage["width"] <= width
    assert box["y"] + box["height"] <= stage["y"] + stage["height"]
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
