"""run.py with pretended sessions: the real process, its settings and its signals. Run it as a module."""

from __future__ import annotations

import sys
from functools import partial

import run
import server.app
from tests.server.fakes import FakeEngine, FakeSession, quiet_book

if __name__ == "__main__":
    parts = {"engine": FakeEngine(), "book": quiet_book(), "live": FakeSession}
    server.app.build_app = partial(server.app.build_app, **parts)  # type: ignore[assignment]
    sys.exit(run.main())
