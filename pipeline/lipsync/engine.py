"""What every lip-sync engine offers. An utterance's sound goes into an analyser, its mouths to the face's renderer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from avatars.avatar import Avatar
from pipeline.media import MouthPatch, SpeechChunk
from pipeline.timings import Spread

Mouth = Any
"""One frame's mouth in the engine's own terms (warp: MouthShape; musetalk: a row of audio features). Opaque outside."""


class EngineFallback(RuntimeError):
    """This engine failed and another goes on in its place; str() says so to people."""


Progress = Callable[[float], None]
"""Told how far a piece of work is, 0..1."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What an engine that draws many mouths in one call may tell (`batches()`): how many calls of each size, and what
    they took.
    """

    sizes: Mapping[int, int]
    seconds: Spread


class SpeechAnalyser(Protocol):
    """Turns the sound of ONE utterance into mouths, frame by frame, as it arrives. Not thread-safe; blocking, short."""

    def feed(self, chunk: SpeechChunk) -> Sequence[Mouth | None]:
        """Take the next chunk; give the mouths of the frames that are now known, in order (None: no voice there)."""

    def finish(self) -> Sequence[Mouth | None]:
        """No more sound comes: give the rest. In all, ceil(samples / 1920) mouths came out."""


class Face(Protocol):
    """An avatar opened by an engine; shared by all sessions on it. Thread-safe."""

    def analyser(self) -> SpeechAnalyser:
        """A fresh analyser for one utterance."""

    def idle(self, frame: int) -> Mouth | None:
        """The mouth to show at avatar frame `frame` when nobody speaks. None: the frame is right as it is."""

    def submit(self, frame: int, mouth: Mouth, presence: float, deadline: float) -> Future[MouthPatch | None]:
        """Render one mouth onto avatar frame `frame` (0 <= frame < count), on the engine's own threads or process.

        presence: 0 the avatar's own mouth .. 1 the engine's, for fading in and out.
        deadline: when it is shown, in time.monotonic() seconds. The future may be cancelled.
        A None patch: show the frame as it is.
        """


class LipSyncEngine(Protocol):
    """One way to move lips. `name` is its folder in the avatar and its name in settings and logs."""

    name: str

    def prepare(self, avatar: Avatar, progress: Progress) -> None:
        """Compute what the engine needs once an avatar and write it to `avatar.path / name`. Blocking, may be long."""

    def open(self, avatar: Avatar) -> Face:
        """Open the prepared avatar; prepares it first if its data are missing or of an older version. Blocking."""

    def close(self) -> None:
        """Stop the engine's threads and processes."""
