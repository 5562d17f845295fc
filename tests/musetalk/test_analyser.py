"""The analyser, without a worker: one mouth a frame, none in silence, and there before its voice is heard."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.lipsync.musetalk.analyser import CONTEXT, MuseTalkAnalyser, Spoken
from pipeline.media import CLOSED, SAMPLES_PER_FRAME, MouthShape, SpeechChunk

from .fakes import OPEN, FakeWarpAnalyser, chunks


class Heard:
    """In the place of the worker's utterance: keeps what it was told."""

    def __init__(self) -> None:
        self.sound: list[np.ndarray] = []
        self.ended = 0

    def feed(self, sound: np.ndarray, last: bool) -> None:
        assert not self.ended
        self.sound.append(sound)
        self.ended += last


class Scripted:
    """A warp analyser that gives these mouths at its end."""

    def __init__(self, shapes: Sequence[MouthShape | None]) -> None:
        self._shapes = shapes

    def feed(self, chunk: SpeechChunk) -> Sequence[MouthShape | None]:
        return []

    def finish(self) -> Sequence[MouthShape | None]:
        return self._shapes


def made(warp: Any, heard: Heard | None) -> MuseTalkAnalyser:
    return MuseTalkAnalyser(warp, heard)  # type: ignore[arg-type]


@pytest.mark.parametrize("samples", [1, 1919, 1920, 9600, 48000, 48001])
@pytest.mark.parametrize("cut", [700, 9600, 100_000])
def test_every_frame_has_a_mouth_and_all_sound_is_passed_on(samples: int, cut: int) -> None:
    heard = Heard()
    analyser = made(FakeWarpAnalyser(), heard)
    pcm = np.full(samples, 1000, np.int16)
    given = 0
    for fed, chunk in enumerate(chunks(pcm, cut), start=1):
        given += len(analyser.feed(chunk))
        known = (min(fed * cut, samples) - CONTEXT) // SAMPLES_PER_FRAME + 1
        assert given == max(0, known)  # as soon as its context is there, not earlier
    rest = list(analyser.finish())
    assert given + len(rest) == -(-samples // SAMPLES_PER_FRAME)
    assert list(analyser.finish()) == []
    assert heard.ended == 1
    sound = np.concatenate(heard.sound)
    assert abs(len(sound) - samples / 3) <= 1
    if samples >= 9600:
        assert np.abs(sound[600:-600] - 1000 / 32768).max() < 1e-3


def test_the_mouth_is_there_before_the_voice_and_gone_once_it_has_closed() -> None:
    half = MouthShape(opening=0.2)
    shapes = [None, CLOSED, CLOSED, OPEN, OPEN, half, CLOSED, CLOSED, None, None, CLOSED, OPEN]
    analyser = made(Scripted(shapes), Heard())
    analyser.feed(SpeechChunk(np.zeros(len(shapes) * SAMPLES_PER_FRAME, np.int16)))
    mouths = analyser.finish()
    assert [mouth is not None for mouth in mouths] == [bool(int(bit)) for bit in "011111000011"]
    assert [mouth.index for mouth in mouths if isinstance(mouth, Spoken)] == [1, 2, 3, 4, 5, 10, 11]


def test_without_a_worker_the_mouths_are_warp_s_and_as_early() -> None:
    analyser = made(FakeWarpAnalyser(), None)
    mouths = analyser.feed(SpeechChunk(np.full(SAMPLES_PER_FRAME, 9, np.int16)))
    assert [(mouth.utterance, mouth.shape) for mouth in mouths if mouth is not None] == [(None, OPEN)]


def test_the_server_s_side_does_not_load_torch() -> None:
    code = "import sys, server.parts, pipeline.lipsync.musetalk.engine; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=False).returncode == 0
