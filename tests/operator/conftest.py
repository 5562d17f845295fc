"""The server fixture of tests/server, for the operator's side of it."""

from __future__ import annotations

from tests.server.conftest import _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]
