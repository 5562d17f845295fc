"""What all ways to order an avatar share: the checks of what is asked, and waiting for what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from avatars.errors import AvatarError
from avatars.record import AvatarRecord, BuildRequest, check_id
from server.bodies import truth
from server.keys import BUILDER, SETTINGS, STORE
from server.problems import ProblemError, from_avatar

CHOICES = ("apply_blur", "consent")
"""Fields of a form that say yes or no."""


def described(record: AvatarRecord) -> dict[str, Any]:
    """A record as the API shows it."""
    return {"avatar_id": record.id, **record.model_dump(mode="json")}


def asked(request: web.Request, name: str) -> bool:
    """Whether the query says yes: ?wait=1. 422 invalid_request for what is neither yes nor no."""
    return truth(request.query.get(name, ""), name)


async def check_free(app: web.Application, avatar_id: str) -> None:
    """Refuse before the video has travelled. The builder checks again when it takes the order."""
    check_id(avatar_id)
    try:
        record = await asyncio.to_thread(app[STORE].get, avatar_id)
    except AvatarError as error:
        if error.code == "not_found":
            return
        raise
    if record.state != "failed":
        raise AvatarError("exists")


def check_consent(consent: bool | None) -> None:
    """A form that asks for consent and got none is refused; a system that never asks answers for it itself."""
    if consent is False:
        raise ProblemError(422, "consent_required", "The person shown has to agree to become an avatar.")


def check_choice(name: str, text: str) -> None:
    """A form's field as it comes: what cannot be, or consent that is not given, is refused at once."""
    if name in CHOICES:
        given = truth(text, name)
        check_consent(given if name == "consent" else None)


def with_choices(fields: Mapping[str, str]) -> dict[str, Any]:
    """A form's fields, its yes and no as such."""
    return {name: truth(text, name) if name in CHOICES else text for name, text in fields.items()}


async def build(app: web.Application, order: BuildRequest, *, wait: bool) -> AvatarRecord:
    """Order an avatar and, to wait, see it through (avatars.wait_seconds at most). Problems of the video, and of the
    build where it was waited for: then with the avatar's `quality` report.
    """
    builder = app[BUILDER]
    record = await builder.submit(order)
    if not wait:
        return record
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(app[SETTINGS].avatars.wait_seconds):
            record = await builder.wait(record.id)
    if record.state == "failed" and record.error is not None:
        problem = from_avatar(AvatarError(record.error.code, record.error.message))
        problem.extra.update(avatar_id=record.id, state="failed", quality=described(record)["quality"])
        raise problem
    return record
