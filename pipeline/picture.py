"""A session's pictures, drawn and encoded on the shared threads, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import structlog
from av.packet import Packet
from av.stream import Stream

from avatars.avatar import Avatar
from pipeline.compositor import Compositor
from pipeline.media import MouthPatch, VideoSettings
from pipeline.video_encoder import VideoEncoder

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Picture:
    """packets: of one picture, their times not yet set."""

    packets: list[Packet[Stream]]
    key: bool
    draw_ms: float
    encode_ms: float


class PictureMaker:
    """Compositor and encoder of one session. One picture is made at a time; one more may wait for it."""

    def __init__(self, avatar: Avatar, settings: VideoSettings, pool: ThreadPoolExecutor) -> None:
        self._avatar = avatar
        self._settings = settings
        self._pool = pool
        self._compositor: Compositor | None = None
        self._encoder: VideoEncoder | None = None
        self._job: asyncio.Future[Picture] | asyncio.Future[None] | None = None
        self._waiting: tuple[asyncio.Future[Picture], Callable[[], Picture]] | None = None

    @property
    def full(self) -> bool:
        """No further picture is taken now."""
        return self._waiting is not None

    async def open(self) -> None:
        """Open the encoder: 10-20 ms that the first picture then need not wait."""
        self._job = job = asyncio.get_running_loop().run_in_executor(self._pool, self._open)
        await asyncio.shield(job)

    def make(self, frame: int, patch: MouthPatch | None, *, key: bool, bitrate: int) -> asyncio.Future[Picture]:
        """Avatar frame `frame` with a patch; results come in order. Not to be called while `full`.

        After a failure the encoder is opened anew, with a keyframe.
        """
        assert not self.full
        made: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        work = partial(self._make, frame, patch, key, bitrate)
        if self._job is not None and not self._job.done():
            self._waiting = (made, work)
        else:
            self._begin(made, work)
        return made

    async def close(self) -> None:
        """Wait for what is being made, and free the encoder."""
        if self._waiting is not None:
            self._waiting[0].cancel()
            self._waiting = None
        if self._job is not None and not self._job.done():
            _, pending = await asyncio.wait({self._job}, timeout=CLOSE_SECONDS)
            if pending:
                log.error("picture_close_timeout")
        self._encoder = self._compositor = None

    def _begin(self, made: asyncio.Future[Picture], work: Callable[[], Picture]) -> None:
        job = asyncio.get_running_loop().run_in_executor(self._pool, work)
        self._job = job
        job.add_done_callback(partial(self._done, made))

    def _done(self, made: asyncio.Future[Picture], job: asyncio.Future[Picture]) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._begin(*waiting)
        if job.cancelled() or made.done():
            made.cancel()
            return
        error = job.exception()
        if error is not None:
            made.set_exception(error)
        else:
            made.set_result(job.result())

    def _open(self) -> None:
        self._compositor = Compositor(self._avatar, self._settings.height)
        self._encoder = VideoEncoder(self._settings, self._compositor.width, self._compositor.height)

    def _make(self, frame: int, patch: MouthPatch | None, key: bool, bitrate: int) -> Picture:
        if self._compositor is None or self._encoder is None:
            self._open()
        assert self._compositor is not None
        assert self._encoder is not None
        began = time.perf_counter()
        try:
            picture = self._compositor.draw(frame, patch)
            drawn = time.perf_counter()
            self._encoder.set_bitrate(bitrate)
            packets = self._encoder.encode(picture, key)
        except BaseException:
            self._encoder = self._compositor = None
            raise
        encoded = time.perf_counter()
        keyed = any(packet.is_keyframe for packet in packets)
        return Picture(packets, keyed, (drawn - began) * 1000, (encoded - drawn) * 1000)
