"""A viewer's microphone: frames that aiortc has decoded, handed on as they come."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

log = structlog.get_logger(__name__)


class SoundSink(Protocol):
    """Where a microphone's sound goes; pipeline.hearing.Inlet is the real one."""

    def put(self, frame: AudioFrame) -> None:
        """The next decoded sound; must not block."""

    def close(self) -> None:
        """No more comes."""


class Microphone:
    """Reads a received track for as long as it lives: aiortc's queue behind it has no bound.

    Decoding is done by aiortc, in a thread of the track's own.
    """

    def __init__(self, track: MediaStreamTrack, sink: SoundSink) -> None:
        self._track = track
        self._sink = sink
        self.frames = 0
        self._task = asyncio.create_task(self._read(), name="microphone")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _read(self) -> None:
        try:
            while True:
                frame = await self._track.recv()
                if isinstance(frame, AudioFrame):
                    self.frames += 1
                    self._sink.put(frame)
        except MediaStreamError:
            pass  # the connection has ended
        except Exception:
            log.exception("microphone_failed")
        finally:
            self._sink.close()
