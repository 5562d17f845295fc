"""Long lists in pages: ?limit= and ?offset= of a request, and what an answer says of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.problems import ProblemError

DEFAULT, MOST = 50, 200
_FARTHEST = 10_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Which of them: at most `limit`, after the first `offset`."""

    limit: int
    offset: int

    def answer(self, total: int, items: list[Any]) -> dict[str, Any]:
        """The page as the API shows it."""
        return {"total": total, "limit": self.limit, "offset": self.offset, "items": items}


def window(request: web.Request) -> Window:
    """422 invalid_request."""
    return Window(_number(request, "limit", 1, MOST, DEFAULT), _number(request, "offset", 0, _FARTHEST, 0))


def _number(request: web.Request, name: str, least: int, most: int, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise ProblemError(422, "invalid_request", f"{name}: write a whole number from {least} to {most}.")
    return int(text)
