"""The whole server with pretended sessions, as tests/server has it."""

from tests.server.conftest import _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]
