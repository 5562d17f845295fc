"""The `warp` engine: lip-sync on the CPU, from the avatar's own frames and its landmarks. Always there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import cv2

from avatars.avatar import Avatar
from pipeline.lipsync.engine import Progress, SpeechAnalyser
from pipeline.lipsync.warp import rig as rigs
from pipeline.lipsync.warp.calibrate import calibrated, default_locator
from pipeline.lipsync.warp.face import Renderer
from pipeline.media import CLOSED, FRAME_SECONDS, MouthPatch, MouthShape

AnalyserFactory = Callable[[], SpeechAnalyser]

_QUEUE_PER_THREAD = 64
"""Renderings that may wait for one thread: 0.2 s of its work. Beyond, a frame keeps its own mouth at once."""

_SHARE = 0.8
"""Of the threads' time that is given to mouths: they also wait for the interpreter, and for a core."""

_MEASURED = 100
"""Mouths after which their cost is known; the first ones also load code and fill caches."""

CLOSED_BYTES = 32 << 20
"""Of closed mouths that a face keeps: where the clip talks by itself, idle lays the same ones over it each round."""


def default_analyser() -> SpeechAnalyser:
    """The analyser of this engine's speech half."""
    from pipeline.lipsync.warp.speech_analyser import WarpAnalyser  # loads the network's weights

    return WarpAnalyser()


def _warm_up() -> None:
    from pipeline.lipsync.warp.speech_analyser import warm_up

    warm_up()


class WarpFace:
    """One avatar, opened. Shared by all sessions on it; thread-safe."""

    def __init__(self, avatar: Avatar, rig: rigs.Rig, engine: WarpEngine) -> None:
        self._avatar, self._rig, self._engine = avatar, rig, engine
        self.renderer = Renderer(avatar, rig)
        self._closed: dict[int, MouthPatch | None] = {}
        self._closed_room = CLOSED_BYTES

    def analyser(self) -> SpeechAnalyser:
        return self._engine.new_analyser()

    def idle(self, frame: int) -> MouthShape | None:
        """None where the clip's own mouth rests (a lasting smile is rest); else a closed mouth to lay over it."""
        if self._rig.idle_open or self._rig.override[frame] == 0:
            return None
        return CLOSED

    def render(self, frame: int, mouth: MouthShape, presence: float) -> MouthPatch | None:
        """Render now, on the caller's thread (see `submit`)."""
        return self.renderer.render(frame, mouth, presence)

    def submit(self, frame: int, mouth: MouthShape, presence: float, deadline: float) -> Future[MouthPatch | None]:
        """Render on the engine's threads. None: nothing changes there, or it would come after its deadline."""
        if not 0 <= frame < self._avatar.count:
            raise IndexError(f"frame {frame} of an avatar of {self._avatar.count}")
        closed = mouth is CLOSED and presence == 1.0
        if closed and frame in self._closed:
            known: Future[MouthPatch | None] = Future()
            known.set_result(self._closed[frame])
            return known
        return self._engine.run(lambda: self._in_time(frame, mouth, presence, deadline, keep=closed))

    def _in_time(
        self, frame: int, mouth: MouthShape, presence: float, deadline: float, *, keep: bool
    ) -> MouthPatch | None:
        if time.monotonic() > deadline:
            return None
        began = time.thread_time()
        patch = self.renderer.render(frame, mouth, presence)
        if patch is not None:
            self._engine.measured(time.thread_time() - began)
        size = 0 if patch is None else patch.luma.nbytes + patch.u.nbytes + patch.v.nbytes
        if keep and size <= self._closed_room:
            self._closed_room -= size
            self._closed[frame] = patch
        return patch


class WarpEngine:
    """See pipeline.lipsync.engine.LipSyncEngine. Holds `threads` worker threads until it is closed."""

    name = "warp"

    def __init__(
        self,
        threads: int = 1,
        analyser_factory: AnalyserFactory = default_analyser,
        locator_factory: Callable[[], rigs.Locator | None] = default_locator,
    ) -> None:
        """locator_factory: gives what finds landmarks in a picture, for `prepare`; None leaves faces uncalibrated."""
        cv2.setNumThreads(1)  # parallelism is over frames; OpenCV's own pool would fight for the same cores
        self.new_analyser = analyser_factory
        self._locator_factory = locator_factory
        self._pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="warp")
        self._room = threading.BoundedSemaphore(_QUEUE_PER_THREAD * max(1, threads))
        self._cold = analyser_factory is default_analyser
        self._threads = max(1, threads)
        self._drawn = 0
        self._seconds = 0.0  # CPU time of a mouth, a running mean

    def prepare(self, avatar: Avatar, progress: Progress) -> None:
        """Work out the avatar's rig and write it to `avatar.path / "warp"`."""
        progress(0.0)
        locator = self._locator_factory()
        rig = rigs.build(avatar, locator)
        progress(0.6)
        rig = calibrated(avatar, rig, locator)
        progress(0.9)
        rigs.save(rig, avatar.path / self.name)
        progress(1.0)

    def open(self, avatar: Avatar) -> WarpFace:
        if self._cold:  # the first session: its speech half is loaded while the student connects
            self._cold = False
            self._pool.submit(_warm_up)
        folder = avatar.path / self.name
        try:
            rig = rigs.load(folder, avatar.count)
        except rigs.RigError:
            self.prepare(avatar, lambda _: None)
            rig = rigs.load(folder, avatar.count)
        return WarpFace(avatar, rig, self)

    def capacity(self) -> int | None:
        """Sessions that may speak at once, from what its mouths cost so far; 1 at least. None: not known yet."""
        if self._drawn < _MEASURED:
            return None
        return max(1, int(self._threads * _SHARE * FRAME_SECONDS / max(self._seconds, 1e-6)))

    def measured(self, seconds: float) -> None:
        """A mouth took so much of a thread's CPU time. Called by any thread: one of two at once may be lost."""
        self._drawn += 1
        self._seconds += (seconds - self._seconds) / min(self._drawn, _MEASURED)

    def close(self) -> None:
        """Waits for what is being rendered; drops what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, work: Callable[[], MouthPatch | None]) -> Future[MouthPatch | None]:
        """Queue a rendering. A full queue gives a finished future of None."""
        if not self._room.acquire(blocking=False):
            full: Future[MouthPatch | None] = Future()
            full.set_result(None)
            return full
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future
