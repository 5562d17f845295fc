"""Tutors over HTTP: made (with a video in the same call, if one is at hand), found, changed and deleted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import structlog
from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from avatars.errors import AvatarError
from avatars.record import check_id
from server import speech
from server.avatar_orders import asked, check_choice, check_consent, check_free, with_choices
from server.bodies import digits, id_schema, read_json
from server.keys import BUILDER, RECORDS, SETTINGS, STORE
from server.paging import window
from server.problems import ProblemError
from server.records.tutors import Tutor
from server.security import require_teacher
from server.tutor_making import exists, make, make_with_video
from server.tutors import Shelf
from server.video_forms import video_form

log = structlog.get_logger(__name__)

_LONG = {"description": 8000, "persona": 32_000}  # bytes of the form's longer fields


def _blank(value: object) -> object:
    """A field that is sent empty is one that is not set."""
    return value.strip() or None if isinstance(value, str) else value


_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # PostgreSQL takes no NUL
Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$"), AfterValidator(str.strip)]
Id = Annotated[
    Annotated[_Text, BeforeValidator(digits), Field(max_length=64), id_schema(64, least=0)] | None,
    BeforeValidator(_blank),
]
Word = Annotated[Annotated[_Text, Field(max_length=60)] | None, BeforeValidator(_blank)]
Line = Annotated[Annotated[_Text, Field(max_length=200)] | None, BeforeValidator(_blank)]
Paragraph = Annotated[Annotated[_Text, Field(max_length=2000)] | None, BeforeValidator(_blank)]
Page = Annotated[Annotated[_Text, Field(max_length=8000)] | None, BeforeValidator(_blank)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    description: Paragraph = None
    avatar_id: Id = None
    voice: Line = None
    language: Word = None
    persona: Page = None
    model: Line = None


class NewTutor(_Fields):
    """POST /v1/tutors. id: made of the name where none is given. apply_blur, consent: of a video that comes with it."""

    name: Name
    id: Id = None
    apply_blur: StrictBool = False
    consent: StrictBool | None = None


class Change(_Fields):
    """PATCH /v1/tutors/{id}: only what is named is changed; null clears it."""

    name: Name = "?"


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/v1/tutors", create),
            web.get("/v1/tutors", show_all),
            web.get("/v1/tutors/{tutor_id}", show),
            web.patch("/v1/tutors/{tutor_id}", change),
            web.delete("/v1/tutors/{tutor_id}", delete),
        ]
    )


# -- making -------------------------------------------------------------------------------------------------------


async def create(request: web.Request) -> web.Response:
    """201 with the tutor, which is in the database by then. A form may hold a video: its avatar is made and linked;
    the answer comes as soon as the video is accepted, with ?wait=1 when the avatar is ready. A refused video leaves
    nothing.
    """
    require_teacher(request)
    wait = asked(request, "wait")
    if request.content_type == "multipart/form-data":
        return await _create_by_form(request, wait)
    return await _create(request, await read_json(request, NewTutor))


async def _create_by_form(request: web.Request, wait: bool) -> web.Response:
    app = request.app

    async def check(name: str, text: str) -> None:
        """What is wrong is told before the video has travelled."""
        if name == "id" and text:
            await _check_new(app, text)
        elif name == "voice":
            speech.check_voice(app, text or None)
        check_choice(name, text)

    limit = app[SETTINGS].avatars.max_upload_mb << 20
    names = NewTutor.model_fields
    async with video_form(request, app[STORE], limit, check, names=names, field_limits=_LONG) as form:
        body = NewTutor.model_validate(with_choices(form.fields))
        if form.video is None:
            return await _create(request, body)
        await _check(app, body, new_avatar=True)
        tutor = await make_with_video(
            app,
            body.id,
            _values(body, set(_Fields.model_fields) | {"name"}),
            form.video,
            apply_blur=body.apply_blur,
            consent=bool(body.consent),
            wait=wait,
        )
        return await _made(app, tutor)


async def _create(request: web.Request, body: NewTutor) -> web.Response:
    await _check(request.app, body)
    tutor = await make(request.app, body.id, _values(body, set(_Fields.model_fields) | {"name"}))
    return await _made(request.app, tutor)


async def _made(app: web.Application, tutor: Tutor) -> web.Response:
    return web.json_response(
        described(tutor, await _shelf(app)), status=201, headers={"Location": f"/v1/tutors/{tutor.id}"}
    )


async def _check(app: web.Application, body: NewTutor | Change, *, new_avatar: bool = False) -> None:
    """422 unknown_voice, unknown_avatar, consent_required; of an avatar that is to be made: invalid_id, 409 exists."""
    speech.check_voice(app, body.voice)
    if isinstance(body, NewTutor):
        check_consent(body.consent)
        if body.id is not None:
            await _check_new(app, body.id)
    if body.avatar_id is None:
        return
    if new_avatar:
        await check_free(app, body.avatar_id)
        return
    try:
        await asyncio.to_thread(app[STORE].get, body.avatar_id)
    except AvatarError as error:
        raise ProblemError(
            422, "unknown_avatar", "There is no avatar with this avatar_id. Make it first, or leave the field out."
        ) from error


async def _check_new(app: web.Application, tutor_id: str) -> None:
    try:
        check_id(tutor_id)
    except AvatarError as error:
        raise ProblemError(
            422,
            "invalid_id",
            "A tutor's id is 1 to 64 letters, digits, dots, hyphens and underscores; it begins with a letter or digit.",
        ) from error
    if await app[RECORDS].tutors.get(tutor_id) is not None:
        raise exists()


def _values(body: _Fields, names: set[str]) -> dict[str, Any]:
    values = body.model_dump(include=names)
    if "description" in values:
        values["description"] = values["description"] or ""
    return values


# -- showing ------------------------------------------------------------------------------------------------------


def described(tutor: Tutor, shelf: Shelf) -> dict[str, Any]:
    """A tutor as the API shows it. avatar: the one that sessions get, in short; null where there is none."""
    return {
        "id": tutor.id,
        "tutor_id": tutor.id,
        "name": tutor.name,
        "description": tutor.description,
        "avatar_id": tutor.avatar_id,
        "avatar": shelf.shown(tutor),
        "voice": tutor.voice,
        "language": tutor.language,
        "persona": tutor.persona,
        "model": tutor.model,
        "created_at": tutor.created_at.isoformat(),
        "updated_at": tutor.updated_at.isoformat(),
    }


async def show_all(request: web.Request) -> web.Response:
    """By name; ?search= keeps those whose name holds it."""
    require_teacher(request)
    part = window(request)
    search = request.query.get("search", "").replace("\0", "")[:200]
    page = await request.app[RECORDS].tutors.page(search=search, limit=part.limit, offset=part.offset)
    shelf = await _shelf(request.app)
    return web.json_response(part.answer(page.total, [described(tutor, shelf) for tutor in page.tutors]))


async def show(request: web.Request) -> web.Response:
    require_teacher(request)
    tutor = await _tutor(request)
    return web.json_response(described(tutor, await _shelf(request.app)))


async def _shelf(app: web.Application) -> Shelf:
    return Shelf(await asyncio.to_thread(app[STORE].list))


async def _tutor(request: web.Request) -> Tutor:
    """The tutor in the address; an id that cannot be one is simply not there. 404 unknown_tutor."""
    tutor_id = request.match_info["tutor_id"]
    tutor = None
    with contextlib.suppress(AvatarError):
        tutor = await request.app[RECORDS].tutors.get(check_id(tutor_id))
    if tutor is None:
        raise _unknown()
    return tutor


def _unknown() -> ProblemError:
    return ProblemError(404, "unknown_tutor", "There is no tutor with this id.")


# -- changing -----------------------------------------------------------------------------------------------------


async def change(request: web.Request) -> web.Response:
    """200 with the tutor as it is now. Sessions that run keep what they began with."""
    require_teacher(request)
    tutor = await _tutor(request)
    body = await read_json(request, Change)
    await _check(request.app, body)
    values = _values(body, body.model_fields_set)
    changed = await request.app[RECORDS].tutors.change(tutor.id, values) if values else tutor
    if changed is None:
        raise _unknown()
    return web.json_response(described(changed, await _shelf(request.app)))


async def delete(request: web.Request) -> web.Response:
    """204. ?avatar=1: its avatar, too; then 409 in_use while a session shows it, avatar_shared if it is another tutor's
    as well, and nothing is deleted.
    """
    require_teacher(request)
    with_avatar = asked(request, "avatar")
    app, tutor = request.app, await _tutor(request)
    if with_avatar and tutor.avatar_id is not None:
        if len(await app[RECORDS].tutors.of_avatar(tutor.avatar_id)) > 1:
            raise ProblemError(
                409, "avatar_shared", "Another tutor has the same avatar. Delete this tutor without its avatar."
            )
        try:
            await app[BUILDER].delete(tutor.avatar_id)
        except AvatarError as error:
            if error.code != "not_found":
                raise
    if not await app[RECORDS].tutors.remove(tutor.id):
        raise _unknown()
    log.info("tutor_deleted", tutor=tutor.id)
    return web.Response(status=204)
