"""The faces that sessions share: each avatar is opened once, by the engine, and let go with its last session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from avatars.avatar import Avatar
from pipeline.lipsync.engine import Face, LipSyncEngine
from server.log_context import of_nobody


class Lease(Protocol):
    """An avatar in use: neither deleted nor without its frames until `release`."""

    avatar: Avatar

    def release(self) -> None: ...


class Leasing(Protocol):
    """What is needed of the avatar store."""

    def lease(self, avatar_id: str) -> Lease:
        """Open a ready avatar; blocking. Raises AvatarError."""

    def used(self, avatar_id: str) -> None:
        """A session begins or ends on it; blocking, for a moment once an hour."""


@dataclass(frozen=True, slots=True)
class OpenFace:
    avatar: Avatar
    face: Face


@dataclass(slots=True)
class _Entry:
    opening: asyncio.Task[tuple[Lease, OpenFace]]
    users: int = 0


class Faces:
    """Counts the users of every open face. Opening runs in a thread, once for all who wait for it."""

    def __init__(self, store: Leasing, engine: LipSyncEngine) -> None:
        self._store = store
        self._engine = engine
        self._entries: dict[str, _Entry] = {}

    async def acquire(self, avatar_id: str) -> OpenFace:
        """The avatar and its face; `release` gives them back. Raises AvatarError."""
        entry = self._entries.get(avatar_id)
        if entry is None:
            work = asyncio.to_thread(self._open, avatar_id)
            entry = _Entry(asyncio.create_task(work, name=f"open {avatar_id}", context=of_nobody()))
            self._entries[avatar_id] = entry
        entry.users += 1
        try:
            _, opened = await asyncio.shield(entry.opening)
        except BaseException:
            self._drop(avatar_id, entry)
            raise
        self._store.used(avatar_id)
        return opened

    def release(self, avatar_id: str) -> None:
        """Give back what `acquire` gave."""
        self._store.used(avatar_id)
        self._drop(avatar_id, self._entries[avatar_id])

    def users(self, avatar_id: str) -> int:
        entry = self._entries.get(avatar_id)
        return entry.users if entry else 0

    def _drop(self, avatar_id: str, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users == 0:
            if self._entries.get(avatar_id) is entry:
                del self._entries[avatar_id]
            entry.opening.add_done_callback(_give_back)

    def _open(self, avatar_id: str) -> tuple[Lease, OpenFace]:
        lease = self._store.lease(avatar_id)
        try:
            return lease, OpenFace(lease.avatar, self._engine.open(lease.avatar))
        except BaseException:
            lease.release()
            raise


def _give_back(opening: asyncio.Task[tuple[Lease, OpenFace]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].release()
