"""The server's side of a worker, without one: what may happen at any time must not stop it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.lipsync.musetalk import renderer as renderer_module
from pipeline.lipsync.musetalk.messages import WorkerSettings
from pipeline.lipsync.musetalk.renderer import Renderer, Utterance


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    return Renderer(WorkerSettings(tmp_path))


def test_utterances_may_be_dropped_at_any_time(renderer: Renderer) -> None:
    """As the garbage collector does it: between any two steps, in whatever thread."""

    def drop(*_: object) -> None:
        Utterance(renderer, 2, 0)

    def work() -> None:
        utterance = Utterance(renderer, 1, 0)
        sys.setprofile(drop)  # called at each call and return from here on
        for _ in range(10):
            utterance.feed(np.zeros(1, np.float32), False)
        sys.setprofile(None)

    working = threading.Thread(target=work, daemon=True)
    working.start()
    working.join(10)
    assert not working.is_alive(), "it waits for itself"


def test_a_face_may_be_dropped_while_others_are_opened(renderer: Renderer) -> None:
    def drop() -> None:
        with renderer._lock:
            renderer.let_go(1)

    dropping = threading.Thread(target=drop, daemon=True)
    dropping.start()
    dropping.join(10)
    assert not dropping.is_alive(), "it waits for itself"


def test_a_process_that_does_not_end_in_time_is_left(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer_module, "STOP_SECONDS", 0.0)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        renderer._process = process
        renderer._kill()
