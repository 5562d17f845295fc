"""The shared threads: speech gives way to pictures."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from pipeline.workers import Workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux's threads have priorities of their own")


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_speech_gives_way_to_pictures_and_to_the_event_loop() -> None:
    workers = Workers()
    pictures, speech = workers.acquire()
    try:
        assert pictures.submit(nice).result(5) == nice()
        assert speech.submit(nice).result(5) == min(19, nice() + 5)
    finally:
        workers.release()
