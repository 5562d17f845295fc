"""Real sessions on fakes, and whole servers with pretended ones, as other tests have them."""

from __future__ import annotations

from tests.pipeline.conftest import show
from tests.server.conftest import serve, settings_for

__all__ = ["serve", "settings_for", "show"]
