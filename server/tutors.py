"""Which avatar a session gets: the one it names, or the newest ready one that was made for its tutor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from avatars.record import AvatarRecord
from server.problems import ProblemError


class Records(Protocol):
    """What is needed of the avatar store; blocking, raises AvatarError."""

    def get(self, avatar_id: str) -> AvatarRecord: ...

    def list(self) -> Sequence[AvatarRecord]: ...


def avatar_for(store: Records, *, avatar_id: str | None, tutor_id: str | None) -> str:
    """The id of a ready avatar. 404 not_found, unknown_tutor; 409 not_ready, avatar_failed. Blocking."""
    if avatar_id is not None:
        record = store.get(avatar_id)
        _check(record)
        return record.id
    own = [record for record in store.list() if record.tutor_id == tutor_id]
    if not own:
        raise ProblemError(404, "unknown_tutor", "No avatar was made for this tutor_id yet.")
    ready = [record for record in own if record.state == "ready"]
    newest = max(ready or own, key=lambda record: record.created_at)
    _check(newest)
    return newest.id


def _check(record: AvatarRecord) -> None:
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
