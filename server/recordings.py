"""The recordings that are spoken or wait for it: where they lie on disk, how many a session has, how much all take."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.media import SAMPLE_RATE
from server.bodies import disk_full
from server.problems import ProblemError

if TYPE_CHECKING:
    from pipeline.media import SpeechChunk

PER_SESSION = 8
_SPEECH_SECOND = 2 * SAMPLE_RATE  # bytes of it once it is decoded
_MARGIN_SECONDS = 2.0  # a decoder may write this much more than the longest recording


class Recordings:
    """Gives every recording a folder of its own. On the event loop only.

    folder: for all of them; what a crash leaves there is removed at the next start (AvatarStore.uploads). room: bytes
    of disk that they may take together.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._room = room
        self._count: Counter[str] = Counter()
        self.taken = 0  # bytes

    def set_room(self, room: int) -> None:
        """Another room from now on; what is there stays."""
        self._room = room

    def take(self, session_id: str, clip_bytes: int, seconds: float) -> Place:
        """A place for a clip of at most so many bytes and seconds. 429 queue_full, 503 busy, 507 disk_full."""
        if self._count[session_id] >= PER_SESSION:
            raise ProblemError(
                429,
                "queue_full",
                f"{PER_SESSION} recordings of this session wait already; wait, or interrupt.",
                headers={"Retry-After": "5"},
            )
        needed = clip_bytes + round((seconds + _MARGIN_SECONDS) * _SPEECH_SECOND)
        if self.taken + needed > self._room:
            raise ProblemError(
                503,
                "busy",
                "The recordings that wait in all sessions take the room there is for them. Try again soon.",
                headers={"Retry-After": "10"},
            )
        try:
            folder = Path(tempfile.mkdtemp(prefix="clip-", dir=self._folder))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full() from error
            raise
        self._count[session_id] += 1
        self.taken += needed
        return Place(self, session_id, folder, needed)

    def _change(self, more: int) -> None:
        self.taken += more

    def _leave(self, session_id: str, size: int) -> None:
        self.taken -= size
        self._count[session_id] -= 1
        if not self._count[session_id]:
            del self._count[session_id]


class Place:
    """One recording's folder, and the bytes that are kept for it. As a context manager it is freed on a failure."""

    def __init__(self, recordings: Recordings, session_id: str, folder: Path, size: int) -> None:
        self.folder = folder
        self.clip = folder / "clip"
        self._recordings: Recordings | None = recordings
        self._session_id = session_id
        self._size = size

    def decoded(self, speech_bytes: int) -> None:
        """All of it is decoded: from now on only that is kept."""
        self.clip.unlink(missing_ok=True)
        if self._recordings is not None:
            self._recordings._change(speech_bytes - self._size)
            self._size = speech_bytes

    def free(self) -> None:
        """Remove the folder; again is harmless."""
        recordings, self._recordings = self._recordings, None
        if recordings is not None:
            recordings._leave(self._session_id, self._size)
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.free()


class Recording:
    """The chunks of a recording that is decoded while it is spoken; `aclose` frees its place. An async iterator."""

    def __init__(self, place: Place, chunks: AsyncGenerator[SpeechChunk, None]) -> None:
        self._place = place
        self._chunks = chunks
        self._first: SpeechChunk | None = None

    async def begin(self) -> None:
        """Wait for the first chunk: by then it is known whether the file can be read. Raises SpeechFileError."""
        self._first = await anext(self._chunks)

    def __aiter__(self) -> Recording:
        return self

    async def __anext__(self) -> SpeechChunk:
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return await anext(self._chunks)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        try:
            await self._chunks.aclose()
        finally:
            self._place.free()
