"""A server with a key of each role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.access import key_file
from server.access.roles import ROLES
from tests.server.conftest import Running, Serve, _clean_environment, serve, settings_for

__all__ = ["_clean_environment", "serve", "settings_for"]


@dataclass
class School:
    """keys: of each role, as they are sent."""

    server: Running
    keys: dict[str, str]
    keys_file: Path

    async def ask(self, method: str, path: str, shown: str | None = None, **more: Any) -> Any:
        """shown: a role, whose key is sent, or a token or key itself."""
        headers = {**more.pop("headers", {})}
        if shown is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(shown, shown)}"
        return await self.server.client.request(method, path, headers=headers, allow_redirects=False, **more)

    async def session(self, role: str = "service", **more: Any) -> dict[str, Any]:
        body = {"avatar_id": "ada", "student_id": "s1", **more}
        answer = await self.ask("POST", "/v1/sessions", role, json=body)
        assert answer.status == 201, await answer.text()
        made: dict[str, Any] = await answer.json()
        return made


Found = Callable[..., Awaitable[School]]


@pytest.fixture
def school(serve: Serve, tmp_path: Path) -> Found:
    """`await school(sessions={…})`: a running server that has a key of each role."""

    async def start(**groups: dict[str, Any]) -> School:
        path = tmp_path / "keys.json"
        keys = {role: key_file.add(path, role, f"of a {role}")[1] for role in ROLES}
        return School(await serve(**groups), keys, path)

    return start
