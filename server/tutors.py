"""Who a session is with: the tutor it names or its avatar belongs to, and the avatar that is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from avatars.errors import AvatarError
from avatars.record import AvatarRecord
from server.problems import ProblemError
from server.records.tutors import Link, Tutor


class Avatars(Protocol):
    """What is needed of the avatar store; blocking, raises AvatarError."""

    def get(self, avatar_id: str) -> AvatarRecord: ...

    def list(self) -> Sequence[AvatarRecord]: ...


class Tutors(Protocol):
    """What is needed of the database; raises RecordsUnavailable."""

    async def get(self, tutor_id: str) -> Tutor | None: ...

    async def of_avatar(self, avatar_id: str) -> list[Tutor]: ...


@dataclass(frozen=True, slots=True)
class Casting:
    """avatar: a ready one. tutor: its record, if it has one. names: what config.yaml may know the tutor by."""

    avatar: AvatarRecord
    tutor: Tutor | None
    names: tuple[str, ...]


class Shelf:
    """All avatars as they are at one moment."""

    def __init__(self, records: Sequence[AvatarRecord]) -> None:
        self._records = records
        self._by_id = {record.id: record for record in records}

    def newest(self, tutor_id: str | None) -> AvatarRecord | None:
        """Of those that were made for a tutor, the newest ready one, else the newest."""
        own = [record for record in self._records if record.tutor_id == tutor_id]
        ready = [record for record in own if record.state == "ready"]
        return max(ready or own, key=lambda record: record.created_at, default=None)

    def of(self, tutor: Tutor | Link) -> AvatarRecord | None:
        """The avatar that sessions with a tutor get."""
        return self._by_id.get(tutor.avatar_id or "") or self.newest(tutor.id)

    def linked(self, tutors: Iterable[Link]) -> set[str]:
        """Ids of the avatars that tutors have."""
        found = (self.of(tutor) for tutor in tutors)
        return {record.id for record in found if record is not None}

    def strangers(self, tutors: Iterable[Link]) -> set[str]:
        """Ids of the avatars that were made for nobody among the tutors; another database may know whom."""
        known = {tutor.id for tutor in tutors}
        return {record.id for record in self._records if record.tutor_id and record.tutor_id not in known}

    def names(self, tutors: Sequence[Link]) -> dict[str, str]:
        """What the tutor of each avatar is called, by the avatar's id: the one linked with it, else the one it was made
        for.
        """
        by_id = {tutor.id: tutor.name for tutor in tutors}
        named = {record.id: by_id[record.tutor_id] for record in self._records if record.tutor_id in by_id}
        for tutor in reversed(tutors):
            if tutor.avatar_id is not None and self._by_id.get(tutor.avatar_id) is not None:
                named[tutor.avatar_id] = tutor.name
        return named

    def shown(self, tutor: Tutor) -> dict[str, Any] | None:
        """The avatar that sessions with a tutor get, in short; None: there is none. state: an avatar's, or missing."""
        record = self.of(tutor)
        if record is not None:
            fields = record.model_dump(mode="json", include={"state", "stage", "progress", "error"})
            return {"avatar_id": record.id, **fields}
        if tutor.avatar_id is None:
            return None
        error = {"code": "not_found", "message": "This avatar was deleted, or never came to be. Make another one."}
        return {"avatar_id": tutor.avatar_id, "state": "missing", "stage": "", "progress": 0.0, "error": error}


async def cast(avatars: Avatars, tutors: Tutors, *, avatar_id: str | None, tutor_id: str | None) -> Casting:
    """By tutor_id: its record's avatar, else the newest ready one that was made for it. An avatar_id decides what is
    seen, and where no tutor is named it says who speaks, too.

    404 not_found, unknown_tutor; 409 not_ready, avatar_failed, no_avatar.
    """
    tutor = None if tutor_id is None else await tutors.get(tutor_id)
    avatar = await asyncio.to_thread(_avatar, avatars, avatar_id, tutor_id, tutor)
    if tutor is None and tutor_id is None:
        tutor = await _owner(tutors, avatar)
    names = (tutor.id if tutor is not None else tutor_id, avatar.tutor_id, avatar.id)
    return Casting(avatar, tutor, tuple(name for name in names if name))


def _avatar(avatars: Avatars, avatar_id: str | None, tutor_id: str | None, tutor: Tutor | None) -> AvatarRecord:
    if avatar_id is not None:
        return _ready(avatars.get(avatar_id))
    if tutor is not None and tutor.avatar_id is not None:
        try:
            return _ready(avatars.get(tutor.avatar_id))
        except AvatarError as error:
            if error.code != "not_found":
                raise
    newest = Shelf(avatars.list()).newest(tutor_id)
    if newest is None and tutor is not None:
        raise ProblemError(
            409,
            "no_avatar",
            "This tutor has no avatar, or it was deleted. Make one, and give the tutor its avatar_id.",
            tutor_id=tutor_id,
        )
    if newest is None:
        raise ProblemError(404, "unknown_tutor", "There is no tutor with this id, and no avatar was made for it yet.")
    return _ready(newest)


async def _owner(tutors: Tutors, avatar: AvatarRecord) -> Tutor | None:
    """Whose avatar it is: of several tutors who share it the one it was made for, else the oldest."""
    linked = await tutors.of_avatar(avatar.id)
    for tutor in linked:
        if tutor.id == avatar.tutor_id:
            return tutor
    if linked:
        return linked[0]
    return await tutors.get(avatar.tutor_id) if avatar.tutor_id else None


def _ready(record: AvatarRecord) -> AvatarRecord:
    if record.state == "preparing":
        raise ProblemError(
            409,
            "not_ready",
            "This avatar is still being prepared; try again when its state is ready.",
            headers={"Retry-After": "5"},
            avatar_id=record.id,
            progress=record.progress,
        )
    if record.state == "failed":
        reason = f": {record.error.message}" if record.error else "."
        raise ProblemError(409, "avatar_failed", f"This avatar could not be made{reason}", avatar_id=record.id)
    return record
