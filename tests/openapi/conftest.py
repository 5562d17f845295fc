"""The whole server with pretended sessions, as tests/server has it."""

from tests.server.conftest import serve, settings_for

__all__ = ["serve", "settings_for"]
