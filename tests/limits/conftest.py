"""The servers and fixtures of tests/server."""

from __future__ import annotations

from tests.server.conftest import _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]
