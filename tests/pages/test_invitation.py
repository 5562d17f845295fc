"""The student page for a session that a school made: by a link, without a key."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.pages.conftest import OpenPage, chromium, watched_pages
from tests.pages.fake_server import FakeServer, FakeSession
from tests.pages.waiting import grows, stop_clock, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(autouse=True)
def _locked(server: FakeServer) -> None:
    server.key = "of the school"


def link(server: FakeServer, session: FakeSession, token: str | None = None) -> str:
    return f"{server.url}/#session={session.id}&token={token or session.token}"


async def live(page: Page) -> None:
    await expect(page.locator("#status-words")).to_have_text("Live", timeout=15_000)


async def test_a_link_is_enough(server: FakeServer, open_page: OpenPage) -> None:
    session = server.new_session()
    session.tutor_name = "Ada Lovelace"
    page = await open_page(link(server, session))
    await expect(page.locator("#start-words")).to_have_text("Start with Ada Lovelace")
    await expect(page.locator(".card img")).to_be_visible()
    await expect(page.locator("#poster")).to_be_visible()
    await expect(page.locator("#access")).to_be_hidden()
    await expect(page.locator("#for-teachers")).to_be_hidden()
    assert page.url == f"{server.url}/"  # nobody reads the token over the student's shoulder, or in the history
    await page.click("#start")
    await live(page)
    await grows(page, "frames", 5)
    await page.fill("#text", "Hello")
    await page.press("#text", "Enter")
    await until(lambda: any(message.get("text") == "Hello" for message in session.heard))
    assert server.created == []


async def test_a_reload_goes_on_and_leaving_is_no_end(server: FakeServer, open_page: OpenPage) -> None:
    session = server.new_session()
    page = await open_page(link(server, session))
    await page.click("#start")
    await live(page)
    await page.reload()
    await page.click("#start")
    await live(page)
    await page.click("#leave")
    await expect(page.locator("#notice-title")).to_have_text("You have left the conversation")
    await expect(page.locator("#notice-other")).to_be_hidden()
    await page.click("#notice-retry")
    await live(page)
    assert server.ended == []
    assert session.id in server.sessions


async def test_it_opens_over_a_slow_line(server: FakeServer, open_page: OpenPage) -> None:
    session = server.new_session()
    server.renew_gate = asyncio.Event()
    page = await open_page("about:blank")
    await stop_clock(page)
    await page.goto(link(server, session))
    await until(lambda: server.renewed == 1)
    await page.clock.run_for(10_000)
    server.renew_gate.set()
    await expect(page.locator("#start-words")).to_have_text("Start with Ms Chen")


async def test_when_it_has_ended_it_says_so_kindly(server: FakeServer, open_page: OpenPage) -> None:
    session = server.new_session()
    page = await open_page(link(server, session))
    await page.click("#start")
    await live(page)
    await server.drop(session)
    for _ in range(2):
        await expect(page.locator("#notice-title")).to_have_text("This conversation has ended")
        await expect(page.locator("#notice-text")).to_contain_text("Your school can open a new one")
        await expect(page.locator("#notice button:visible")).to_have_count(0)
        await expect(page.locator("#access")).to_be_hidden()
        await page.reload()
        await expect(page.locator("#choose-title")).to_be_hidden()  # there is nothing to choose


async def in_line(server: FakeServer) -> FakeSession:
    """A session that waits behind another one."""
    session = server.new_session()
    server.waiting += [FakeSession("other", "token", "ms-chen"), session]
    return session


async def test_a_place_in_line_is_kept_from_the_moment_the_link_is_opened(
    server: FakeServer, open_page: OpenPage
) -> None:
    session = await in_line(server)
    page = await open_page(link(server, session))
    await expect(page.locator("#notice-title")).to_have_text("You are 2nd in line")
    await until(lambda: session.sockets)  # that is what keeps the place
    await expect(page.locator("#start")).to_be_hidden()
    await expect(page.locator("#choose-title")).to_be_hidden()  # it is not ready yet
    await page.reload()
    await until(lambda: session.sockets)
    await server.seat(session)
    await live(page)
    await grows(page, "frames", 5)


async def test_a_turn_that_comes_untouched_asks_for_a_tap_for_its_sound(server: FakeServer) -> None:
    session = await in_line(server)
    async with chromium("--autoplay-policy=user-gesture-required") as browser, watched_pages(browser) as open_page:
        page = await open_page(link(server, session))
        await until(lambda: session.sockets)
        await server.seat(session)
        # Every look of Playwright's counts as the student's touch: none before the page has tried to play.
        await until(lambda: session.peers)
        await live(page)
        await page.click("#unlock")
        await expect(page.locator("#unlock")).to_be_hidden()
        assert await page.evaluate("() => !document.querySelector('#video').muted")


async def test_an_invitation_to_a_session_that_is_gone_offers_no_second_try(
    server: FakeServer, open_page: OpenPage
) -> None:
    session = server.new_session()
    page = await open_page(link(server, session))
    await expect(page.locator("#start")).to_be_visible()
    await server.drop(session)
    await page.click("#start")
    await expect(page.locator("#notice-title")).to_have_text("This conversation has ended")
    await expect(page.locator("#notice button:visible")).to_have_count(0)


async def test_an_invitation_in_line_that_a_break_ends_offers_no_second_try(
    server: FakeServer, open_page: OpenPage
) -> None:
    session = await in_line(server)
    page = await open_page(link(server, session))
    await until(lambda: session.sockets)
    await server.tell(session, type="error", code="draining", message="Stopped.")
    await server.tell(session, type="session_ended", reason="draining")
    await server.drop(session)
    await expect(page.locator("#notice-title")).to_have_text("The server takes a break")
    await expect(page.locator("#notice-text")).to_contain_text("your school can open a new one")
    await expect(page.locator("#notice button:visible")).to_have_count(0)


@pytest.mark.parametrize("how", ["wrong", "expired"])
async def test_a_link_that_does_not_work(server: FakeServer, open_page: OpenPage, how: str) -> None:
    session = server.new_session()
    if how == "expired":
        session.good[session.token] = False
    page = await open_page(link(server, session, "wrong" if how == "wrong" else None))
    await expect(page.locator("#notice-title")).to_have_text("This link doesn't work any more")
    await expect(page.locator("#notice-text")).to_contain_text("school's page")
    await page.goto(link(server, server.new_session()))  # a fresh link, in the same tab
    await expect(page.locator("#start")).to_be_visible()


async def test_half_a_link_is_none(server: FakeServer, open_page: OpenPage) -> None:
    page = await open_page(f"{server.url}/#session=abc")
    await expect(page.locator("#access")).to_be_visible()
    await expect(page.locator("#access p").first).to_contain_text("open the link that your school gave you")


async def test_its_token_is_renewed_in_time_and_survives_a_broken_line(server: FakeServer, open_page: OpenPage) -> None:
    server.token_seconds = 1.0
    session = server.new_session()
    page = await open_page(link(server, session))
    await page.click("#start")
    await live(page)
    await until(lambda: server.renewed >= 4, 30.0)
    server.token_seconds = 7200.0
    before = server.renewed
    await until(lambda: server.renewed > before, 30.0)
    last = list(session.good)[-1]
    await until(lambda: page.evaluate("(token) => window.lectern.session.info.engine_token === token", last))
    for token in list(session.good)[:-1]:
        session.good[token] = False
    old = set(session.sockets)
    await server.cut_sockets()
    await until(lambda: session.sockets and not session.sockets & old)
    await live(page)
    await page.reload()  # with the token it has by now
    await page.click("#start")
    await live(page)


async def test_it_fits_a_phone_in_both_languages(server: FakeServer, open_page: OpenPage) -> None:
    session = server.new_session()
    page = await open_page(
        link(server, session), viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    await page.locator("#start").wait_for()
    await server.drop(session)
    await page.reload()
    for title in ("This conversation has ended", "对话已结束"):
        await expect(page.locator("#notice-title")).to_have_text(title)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390
        await page.click("#language")
