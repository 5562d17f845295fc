"""Whole servers with pretended sessions, as other tests have them."""

from __future__ import annotations

from tests.server.conftest import serve, settings_for

__all__ = ["serve", "settings_for"]
