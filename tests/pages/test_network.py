"""What the student page says when no picture gets through, and that it renews its way to one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.pages.conftest import OpenPage
from tests.pages.fake_server import FakeServer, refuse
from tests.pages.waiting import grows, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TURN = ["turn:turn.invalid:3478?transport=tcp", "turns:turn.invalid"]


@pytest.mark.parametrize("options", [{}, {"locale": "zh-CN", "viewport": {"width": 390, "height": 844}}])
async def test_a_network_in_the_way_is_told_what_to_let_through(
    server: FakeServer, open_page: OpenPage, options: dict[str, Any]
) -> None:
    server.blocked = "203.0.113.7 50000"
    server.ice_servers = [{"urls": TURN, "username": "u", "credential": "c"}] if options else []
    page = await open_page(server.url, **options)
    await page.clock.install()
    await page.click("#start")
    # Only then every other limit is over, and the one for the picture has begun.
    await until(lambda: any(session.heard for session in server.sessions.values()))
    await until(lambda: page.evaluate("() => Boolean(window.lectern.pc?.remoteDescription)"))
    await until(lambda: bool(server.patches))
    await page.clock.fast_forward(13_000)
    text = page.locator("#notice-hint")
    await expect(text).to_contain_text("UDP 203.0.113.7:50000")
    if options:
        await expect(text).to_contain_text("TCP turn.invalid:3478, TLS turn.invalid:5349")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    else:
        await expect(text).to_contain_text("A TURN server of the school helps, too.")
    await until(lambda: not server.sessions)


async def test_a_turn_server_that_the_school_cannot_use_is_no_full_house(
    server: FakeServer, open_page: OpenPage
) -> None:
    server.refuse_session.append(lambda: refuse(503, "turn_unavailable", "no way", **{"Retry-After": "10"}))
    page = await open_page(server.url)
    await page.click("#start")
    await expect(page.locator("#notice-text")).to_contain_text("TURN server")
    await expect(page.locator("#notice-title")).to_have_text("That didn't work")


async def test_a_connection_made_anew_asks_with_fresh_credentials(server: FakeServer, open_page: OpenPage) -> None:
    def turn(user: str) -> list[dict[str, Any]]:
        return [{"urls": ["turn:127.0.0.1:9"], "username": user, "credential": "c"}]

    server.ice_servers = turn("first")
    page = await open_page(server.url)
    await page.click("#start")
    await grows(page, "frames", 3)
    server.ice_servers = turn("second")
    (session,) = server.sessions.values()
    for peer in list(session.peers.values()):
        await peer.close()
    users = "() => window.lectern.pc.getConfiguration().iceServers.map((each) => each.username)"

    async def renewed() -> bool:
        return bool(await page.evaluate(users) == ["second"])

    await until(renewed, 20)
    await grows(page, "frames", 3)
