"""A fake live session, the registry of viewers, and HTTP around them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from tests.rtc.clients import AiortcViewer
from tests.rtc.fakes import FakeLive


@pytest.fixture
async def live() -> AsyncIterator[FakeLive]:
    async with FakeLive() as source:
        yield source


@pytest.fixture
async def peers() -> AsyncIterator[PeerRegistry]:
    registry = PeerRegistry(RtcSettings())
    yield registry
    await registry.close()


@pytest.fixture
async def viewers() -> AsyncIterator[list[AiortcViewer]]:
    """Viewers put in here are closed after the test."""
    made: list[AiortcViewer] = []
    yield made
    for viewer in made:
        await viewer.close()
