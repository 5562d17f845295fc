"""Waiting for what happens outside of Python, in a page or a browser: by looking again, with a limit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from playwright.async_api import Page


async def until(condition: Callable[[], Any], limit: float = 10.0) -> None:
    """Wait until `condition()`, or what it awaits, is true; TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(0.05)


async def stats(page: Page) -> dict[str, Any]:
    """The student page's counters; empty before it has a connection."""
    return dict(await page.evaluate("() => window.lectern.stats()") or {})


async def grows(page: Page, field: str, by: float, limit: float = 10.0) -> None:
    """Wait until a counter of the receiver has grown by so much."""
    first = (await stats(page)).get(field, 0)

    async def grown() -> bool:
        return bool((await stats(page)).get(field, 0) >= first + by)

    await until(grown, limit)


async def stop_clock(page: Page) -> None:
    """From now on the page's time moves by `page.clock.run_for` alone, however slow the machine is."""
    await page.clock.install(time=0)
    await page.clock.pause_at(3_600)
