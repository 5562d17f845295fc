"""A tutor comes to be: first its record, then the avatar of its video; a refused video takes the record along."""

from __future__ import annotations

import asyncio
import contextlib
import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from avatars.errors import AvatarError
from avatars.record import BuildRequest
from server.avatar_orders import build
from server.keys import BUILDER, RECORDS, STORE
from server.problems import ProblemError
from server.records.errors import RecordExists, RecordsUnavailable
from server.records.tutors import Tutor

log = structlog.get_logger(__name__)

_NUMBERED = 9  # "ms-chen-2" … "ms-chen-9", after that a random end


def exists() -> ProblemError:
    return ProblemError(
        409, "exists", "There is a tutor with this id already. Choose another id, or change that one by PATCH."
    )


async def make(app: web.Application, tutor_id: str | None, values: Mapping[str, Any]) -> Tutor:
    """Committed when this returns. tutor_id None: it is made of the name. values: Tutor's other fields. 409 exists."""
    if tutor_id is not None:
        return await _add(app, tutor_id, values)
    for proposal in ids_for(values["name"]):
        with contextlib.suppress(RecordExists):
            return await app[RECORDS].tutors.add(proposal, **values)
    raise AssertionError("ids_for ends with ids that nobody has")


async def make_with_video(
    app: web.Application,
    tutor_id: str | None,
    values: Mapping[str, Any],
    video: Path,
    *,
    apply_blur: bool,
    consent: bool,
    wait: bool,
) -> Tutor:
    """values: avatar_id None: one is made of the tutor's id. wait: see the avatar through. Where the video is refused,
    or its avatar was waited for and failed, neither tutor nor avatar stays, and it is raised why.

    A server that is killed in between leaves a tutor whose avatar is told to be missing.
    """
    tutor = await make(app, tutor_id, values)
    try:
        if tutor.avatar_id is None:
            avatar_id = await asyncio.to_thread(_free_avatar, app, tutor.id)
            tutor = await app[RECORDS].tutors.change(tutor.id, {"avatar_id": avatar_id}) or tutor
        assert tutor.avatar_id is not None
        order = BuildRequest(
            avatar_id=tutor.avatar_id,
            video=video,
            tutor_id=tutor.id,
            apply_blur=apply_blur,
            consent=consent,
            move=True,
        )
        await build(app, order, wait=wait)
    except Exception as error:
        await asyncio.shield(_undo(app, tutor, built=isinstance(error, ProblemError)))
        raise
    return tutor


async def _undo(app: web.Application, tutor: Tutor, *, built: bool) -> None:
    if built and tutor.avatar_id is not None:  # it failed while it was waited for
        with contextlib.suppress(AvatarError):
            await app[BUILDER].delete(tutor.avatar_id)
    try:
        await app[RECORDS].tutors.remove(tutor.id)
    except RecordsUnavailable:
        log.exception("tutor_without_avatar_left", tutor=tutor.id)


async def _add(app: web.Application, tutor_id: str, values: Mapping[str, Any]) -> Tutor:
    try:
        return await app[RECORDS].tutors.add(tutor_id, **values)
    except RecordExists as error:
        raise exists() from error


def _free_avatar(app: web.Application, tutor_id: str) -> str:
    """The tutor's own id, or one like it, that no avatar has. Blocking."""
    try:
        if app[STORE].get(tutor_id).state == "failed":
            return tutor_id
    except AvatarError:
        return tutor_id
    return _random(tutor_id)


def ids_for(name: str) -> Iterator[str]:
    """Ids for a name, the best first: "Ms. Chén" is ms-chen, then ms-chen-2 and so on. A name without Latin letters is
    tutor-… with a random end.
    """
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:48].strip("-")
    if plain:
        yield plain
        for number in range(2, _NUMBERED + 1):
            yield f"{plain}-{number}"
    while True:
        yield _random(plain or "tutor")


def _random(start: str) -> str:
    return f"{start[:55]}-{uuid.uuid4().hex[:8]}"
