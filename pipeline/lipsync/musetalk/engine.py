"""The `musetalk` engine: mouths drawn by a worker process on the GPU, with the warp engine at hand where it fails."""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any

import structlog

from avatars.avatar import Avatar
from pipeline.lipsync.engine import Batches, Face, LipSyncEngine, Mouth, Progress
from pipeline.lipsync.musetalk import prepared
from pipeline.lipsync.musetalk.analyser import MuseTalkAnalyser, Spoken
from pipeline.lipsync.musetalk.messages import WorkerSettings
from pipeline.lipsync.musetalk.preparing import PreparationError, prepare_apart
from pipeline.lipsync.musetalk.renderer import Renderer
from pipeline.lipsync.musetalk.settings import AvatarSettingsError, MuseTalkSettings, of_avatar
from pipeline.media import FRAME_SECONDS, MouthPatch

log = structlog.get_logger(__name__)

SHARE = 0.9
"""Of the throughput measured at the start that sessions may use; the rest is for the encoder and for waiting."""

OPEN_SECONDS = 15.0
"""How long `open` waits for the worker and the avatar's data; after that the face begins with warp's mouths."""

_WARP_PART = 0.2  # of a preparation's progress


class MuseTalkFace:
    """One avatar, opened. Every mouth can also be drawn by warp: while the worker is down, and in idle."""

    def __init__(self, avatar: Avatar, warp: Face, renderer: Renderer) -> None:
        self._count = avatar.count
        self._warp = warp
        self._renderer = renderer
        self.key = renderer.open(avatar)
        """The renderer's name for the avatar."""
        weakref.finalize(self, renderer.let_go, self.key).atexit = False

    @property
    def opened(self) -> bool:
        """Whether mouths are drawn by the device now."""
        return self._renderer.opened(self.key)

    def analyser(self) -> MuseTalkAnalyser:
        utterance = self._renderer.utterance() if self.opened else None
        return MuseTalkAnalyser(self._warp.analyser(), utterance)

    def idle(self, frame: int) -> Mouth | None:
        """Warp's: None where the clip's own mouth rests, else a closed mouth over it."""
        return self._warp.idle(frame)

    def submit(self, frame: int, mouth: Mouth, presence: float, deadline: float) -> Future[MouthPatch | None]:
        """See Face.submit. A future may end with EngineFallback: the mouths after it are warp's."""
        if not 0 <= frame < self._count:
            raise IndexError(f"frame {frame} of an avatar of {self._count}")
        if not isinstance(mouth, Spoken):
            return self._warp.submit(frame, mouth, presence, deadline)
        shape = mouth.shape

        def instead() -> Future[MouthPatch | None]:
            return self._warp.submit(frame, shape, presence, deadline)

        if mouth.utterance is None:
            return instead()
        return self._renderer.draw(self.key, frame, mouth.utterance, mouth.index, presence, deadline, instead)


class MuseTalkEngine:
    """See pipeline.lipsync.engine.LipSyncEngine. Starts its worker process at once and does not wait for it."""

    name = "musetalk"

    def __init__(self, worker: WorkerSettings, warp: LipSyncEngine, settings: MuseTalkSettings | None = None) -> None:
        """warp: what goes on where MuseTalk cannot; it is this engine's from here on, and closed with it."""
        self._worker = worker
        self._warp = warp
        self._settings = (settings or MuseTalkSettings()).model_copy(update={"version": worker.version})
        self._preparing = threading.Lock()  # one at a time: each loads a network onto the device that draws
        self.renderer = Renderer(worker)
        self.renderer.start()

    def prepare(self, avatar: Avatar, progress: Progress) -> None:
        """Both engines' data. Raises PreparationError, AvatarSettingsError."""
        self._warp.prepare(avatar, lambda value: progress(value * _WARP_PART))
        self._prepare_own(avatar, lambda value: progress(_WARP_PART + value * (1 - _WARP_PART)))

    def open(self, avatar: Avatar) -> Face:
        """Warp's face where the avatar cannot be prepared for MuseTalk; the log says why."""
        warp = self._warp.open(avatar)
        try:
            self._make_sure(avatar)
        except (PreparationError, AvatarSettingsError) as error:
            log.error("musetalk_cannot_prepare", avatar=avatar.id, why=str(error))
            return warp
        face = MuseTalkFace(avatar, warp, self.renderer)
        until = time.monotonic() + OPEN_SECONDS
        if not self.renderer.wait(OPEN_SECONDS) or not self.renderer.wait_opened(face.key, until - time.monotonic()):
            log.warning("musetalk_not_ready", avatar=avatar.id, status=self.renderer.status)
        return face

    def capacity(self) -> int | None:
        """Sessions that may speak at once, from the throughput measured at the start; 1 at least. None: not known."""
        rate = self.renderer.frames_per_second
        return None if rate is None else max(1, int(rate * SHARE * FRAME_SECONDS))

    def close(self) -> None:
        """The worker process is gone when this returns."""
        self.renderer.close()
        self._warp.close()

    def figures(self) -> dict[str, Any]:
        """For /health and the log."""
        renderer = self.renderer
        return {
            "status": renderer.status,
            "device": renderer.ready.device if renderer.ready is not None else None,
            "mouths_per_second": renderer.frames_per_second,
            "capacity": self.capacity(),
            "restarts": renderer.restarts,
            "drawn": renderer.figures.drawn,
            "skipped": renderer.figures.skipped,
            "problem": renderer.problem or None,
        }

    def batches(self) -> Batches:
        """Since its worker began."""
        return Batches(self.renderer.figures.sizes, self.renderer.figures.seconds)

    def _make_sure(self, avatar: Avatar) -> None:
        try:
            prepared.load(avatar.path / self.name, self._settings_of(avatar).key(), avatar.count)
        except prepared.NotPrepared as error:
            log.info("musetalk_prepares", avatar=avatar.id, why=str(error))
            self._prepare_own(avatar, lambda _: None)

    def _settings_of(self, avatar: Avatar) -> MuseTalkSettings:
        """The avatar's own, but of the version whose network is loaded."""
        own = of_avatar(avatar.path / self.name, self._settings)
        return own.model_copy(update={"version": self._worker.version})

    def _prepare_own(self, avatar: Avatar, progress: Progress) -> None:
        worker, settings = self._worker, self._settings_of(avatar)
        while not self._preparing.acquire(timeout=1.0):
            progress(0.0)  # it may end the waiting
        try:
            prepare_apart(avatar, worker.base, settings, worker.device, worker.threads, progress)
        finally:
            self._preparing.release()
