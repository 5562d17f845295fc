"""A warp engine without faces, and an avatar on disk as the worker process opens it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from avatars.avatar import Avatar
from avatars.master import CACHE
from avatars.store import FACES
from pipeline.lipsync.engine import Progress
from pipeline.media import SAMPLES_PER_FRAME, MouthPatch, MouthShape, SpeechChunk

from .made_faces import avatar, mesh

OPEN = MouthShape(opening=0.5)
PATCH = MouthPatch(0, 0, *(np.full(side, 7, np.uint8) for side in ((4, 4), (2, 2), (2, 2))))
"""What the fake warp draws."""


class FakeWarpAnalyser:
    """Every frame in which a sample is not zero has a voice."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)

    def feed(self, chunk: SpeechChunk) -> Sequence[MouthShape | None]:
        self._rest = np.concatenate((self._rest, chunk.pcm))
        whole = len(self._rest) // SAMPLES_PER_FRAME
        frames = self._rest[: whole * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
        self._rest = self._rest[whole * SAMPLES_PER_FRAME :]
        return [OPEN if frame.any() else None for frame in frames]

    def finish(self) -> Sequence[MouthShape | None]:
        rest, self._rest = self._rest, self._rest[:0]
        return [OPEN] if len(rest) else []


class FakeWarpFace:
    def analyser(self) -> FakeWarpAnalyser:
        return FakeWarpAnalyser()

    def idle(self, frame: int) -> None:
        return None

    def submit(self, frame: int, mouth: MouthShape, presence: float, deadline: float) -> Future[MouthPatch | None]:
        done: Future[MouthPatch | None] = Future()
        done.set_result(PATCH)
        return done


class FakeWarp:
    name = "warp"

    def __init__(self) -> None:
        self.closed = False

    def prepare(self, avatar: Avatar, progress: Progress) -> None:
        progress(1.0)

    def open(self, avatar: Avatar) -> FakeWarpFace:
        return FakeWarpFace()

    def close(self) -> None:
        self.closed = True


def avatar_on_disk(folder: Path, count: int = 3) -> Avatar:
    """A made face of `count` frames whose frames and landmarks lie in `folder`."""
    landmarks = np.stack([mesh(150 + 2 * n, 110 + n) for n in range(count)])
    made = avatar(folder, landmarks)
    folder.mkdir(parents=True, exist_ok=True)
    made.frames.tofile(folder / CACHE)
    np.savez(folder / FACES, landmarks=made.faces.landmarks, box=made.faces.box, mouth=made.faces.mouth)
    return made


def chunks(pcm: np.ndarray, samples: int) -> list[SpeechChunk]:
    return [SpeechChunk(pcm[at : at + samples]) for at in range(0, len(pcm), samples)]
