"""Which version this is: pyproject.toml says it, and nothing else does."""

from __future__ import annotations

import tomllib
from functools import cache

from server.settings import ROOT


@cache
def version() -> str:
    """As in pyproject.toml; "unknown" where that is missing or damaged."""
    try:
        with (ROOT / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"
