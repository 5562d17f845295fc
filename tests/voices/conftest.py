"""Voices shared by the tests of this folder: the built-in one, loaded once, and an edge service on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import edge_tts.communicate
import pytest

from pipeline.voices.hibari_model import HibariModel
from tests.voices.fakes import FakeEdge


@pytest.fixture(scope="session")
def model() -> HibariModel:
    return HibariModel("heart")


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeEdge]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    service = FakeEdge()
    monkeypatch.setattr(edge_tts.communicate, "WSS_URL", await service.start())
    yield service
    await service.stop()
