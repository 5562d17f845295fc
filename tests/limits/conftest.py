"""The servers and fixtures of tests/server, and a clock that tests move."""

from __future__ import annotations

import time

import pytest

from server.sessions import Sessions
from tests.server.conftest import Running, _clean_environment, serve, settings_for

__all__ = ["Clock", "_clean_environment", "clock", "serve", "settings_for"]


class Clock:
    """The sessions' own, which tests may put forward: limits of minutes, however busy the machine is."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def forward(self, server: Running, seconds: float) -> None:
        self._ahead += seconds
        server.sessions._watch.look_soon()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the sessions of every server that is started after it."""
    made = Clock()
    assert Sessions.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Sessions.__init__.__kwdefaults__, "clock", made)
    return made
