"""Chromium for the page tests: one browser a module, a fresh profile and a watched console for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.needs import missing
from tests.pages.fake_server import FakeServer

FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
LIMIT = 15_000  # ms for any single wait inside a page
expect.set_options(timeout=LIMIT)

OpenPage = Callable[..., Awaitable[Page]]


def chromium_path() -> str | None:
    given = os.environ.get("LECTERN_CHROMIUM")
    for candidate in (given, "/usr/bin/chromium", shutil.which("chromium"), shutil.which("chromium-browser")):
        if candidate and Path(candidate).exists():
            return candidate
    return None


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """Chromium with more flags than FLAGS; skips the test where there is none, and fails it with CI=true."""
    path = chromium_path()
    if path is None:
        missing("Chromium is not installed; `make test` installs it")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags], timeout=30_000)
        try:
            yield started
        finally:
            await started.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@asynccontextmanager
async def watched_pages(browser: Browser, *, known: str = "") -> AsyncIterator[OpenPage]:
    """Opens pages; at the end none may have thrown, and no rule of the security policy been broken.

    known: an exception that is not ours, by its words.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    async def open_one(url: str, before: str | None = None, **options: Any) -> Page:
        options = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options}
        context = await browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(LIMIT)
        if before:
            await context.add_init_script(before)
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
        page.on(
            "console",
            lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None,
        )
        await page.goto(url)
        return page

    try:
        yield open_one
    finally:
        for context in contexts:
            await context.close()
    assert [each for each in wrong if not known or known not in each] == []


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    async with watched_pages(browser) as opener:
        yield opener


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as fake:
        yield fake
