"""The server with a recogniser that takes no time: `python -m bench.stand_in_recogniser serve --port N`, as run.py."""

from __future__ import annotations

import functools
import sys

import run
import server.app
from tests.listening.fakes import FakeRecogniser

SAID = "Why is the sky blue?"

if __name__ == "__main__":
    server.app.build_app = functools.partial(server.app.build_app, recogniser=FakeRecogniser(SAID))
    sys.exit(run.main())
