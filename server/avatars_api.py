"""Avatars over HTTP: made of a video by path or upload, listed, watched while they are prepared, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from avatars.errors import AvatarError
from avatars.imports import import_path
from avatars.record import AvatarRecord, BuildRequest, check_id
from server.access.streams import while_key_is_good
from server.avatar_orders import asked, build, check_choice, check_consent, check_free, described, with_choices
from server.bodies import AvatarId, IdOrEmpty, read_json
from server.keys import BUILDER, RECORDS, SETTINGS, STOPPING, STORE
from server.problems import ProblemError
from server.records.errors import RecordsUnavailable
from server.security import require_teacher
from server.tutors import Shelf
from server.video_forms import video_form

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 10.0


class Import(BaseModel):
    """POST /v1/avatars: a video that lies on the server already."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    avatar_id: AvatarId
    video_path: Annotated[str, Field(min_length=1, max_length=4096)]
    apply_blur: bool = False
    tutor_id: IdOrEmpty | None = None
    consent: bool | None = None


class Upload(BaseModel):
    """The fields of POST /v1/avatars/upload, beside the file."""

    avatar_id: str
    apply_blur: bool = False
    tutor_id: Annotated[str, Field(max_length=200)] = ""
    consent: bool | None = None


def add_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/v1/avatars", create),
            web.post("/v1/avatars/upload", upload),
            web.get("/v1/avatars", show_all),
            web.get("/v1/avatars/{avatar_id}", show),
            web.delete("/v1/avatars/{avatar_id}", delete),
            web.get("/v1/avatars/{avatar_id}/events", events),
            web.get("/v1/avatars/{avatar_id}/preview.jpg", preview),
        ]
    )


# -- making -------------------------------------------------------------------------------------------------------


async def create(request: web.Request) -> web.Response:
    """201 as soon as the video is accepted; ?wait=1: when it is ready. 403 forbidden_path outside import_dirs."""
    require_teacher(request)
    wait = asked(request, "wait")
    body = await read_json(request, Import)
    check_id(body.avatar_id)
    check_consent(body.consent)
    folders = request.app[SETTINGS].avatars.import_dirs
    path = Path(body.video_path)
    if not path.is_absolute() and folders:
        path = folders[0] / path
    video = await asyncio.to_thread(import_path, path, folders)
    return await _submit(
        request,
        BuildRequest(
            avatar_id=body.avatar_id,
            video=video,
            tutor_id=body.tutor_id or "",
            apply_blur=body.apply_blur,
            consent=bool(body.consent),
        ),
        wait,
    )


async def upload(request: web.Request) -> web.Response:
    """The same for a video in the form itself. The parts may come in any order; the file never lies in memory."""
    require_teacher(request)
    wait = asked(request, "wait")

    async def check(name: str, text: str) -> None:
        if name == "avatar_id":
            await check_free(request.app, text)
        check_choice(name, text)

    limit = request.app[SETTINGS].avatars.max_upload_mb << 20
    async with video_form(request, request.app[STORE], limit, check, names=Upload.model_fields) as form:
        if "avatar_id" not in form.fields:
            raise ProblemError(422, "invalid_request", "The form has no field avatar_id.")
        if form.video is None:
            raise ProblemError(422, "invalid_request", "The form has no file video_file.")
        fields = Upload.model_validate(with_choices(form.fields))
        order = BuildRequest(
            avatar_id=fields.avatar_id,
            video=form.video,
            tutor_id=fields.tutor_id,
            apply_blur=fields.apply_blur,
            consent=bool(fields.consent),
            move=True,
        )
        return await _submit(request, order, wait)


async def _submit(request: web.Request, order: BuildRequest, wait: bool) -> web.Response:
    record = await build(request.app, order, wait=wait)
    message = "The video was accepted; the avatar is being prepared."
    if record.state == "ready":
        message = "The avatar is ready."
    return web.json_response(
        {
            **described(record),
            "status": "success",
            "avatar_path": str(request.app[STORE].folder(record.id)),
            "message": message,
        },
        status=201,
        headers={"Location": f"/v1/avatars/{record.id}"},
    )


# -- showing ------------------------------------------------------------------------------------------------------


async def show_all(request: web.Request) -> web.Response:
    require_teacher(request)
    records = await asyncio.to_thread(request.app[STORE].list)
    names = await _names(request.app, records)
    return web.json_response(
        {
            "total": len(records),
            "avatars": [record.id for record in records],
            "items": [{**described(record), "tutor_name": names.get(record.id)} for record in records],
        }
    )


async def show(request: web.Request) -> web.Response:
    require_teacher(request)
    record = await _record(request)
    names = await _names(request.app, [record])
    return web.json_response({**described(record), "tutor_name": names.get(record.id)})


async def _names(app: web.Application, records: Sequence[AvatarRecord]) -> dict[str, str]:
    """What the tutors of avatars are called. Avatars are shown without a database, too."""
    try:
        return Shelf(records).names(await app[RECORDS].tutors.links())
    except RecordsUnavailable as error:
        log.warning("tutor_names_unknown", why=str(error))
        return {}


async def delete(request: web.Request) -> web.Response:
    """204. 404 when it is not there (any more), 409 in_use while a session is on it."""
    require_teacher(request)
    record = await _record(request)
    await request.app[BUILDER].delete(record.id)
    return web.Response(status=204)


async def preview(request: web.Request) -> web.StreamResponse:
    require_teacher(request)
    await _record(request)
    path = await asyncio.to_thread(request.app[STORE].preview, request.match_info["avatar_id"])
    return web.FileResponse(path, headers={"Content-Type": "image/jpeg", "Cache-Control": "no-cache"})


async def events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: the record, again after each change; the last one says ready or failed."""
    require_teacher(request)
    record = await _record(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    stopping = asyncio.ensure_future(request.app[STOPPING].wait())
    stream = request.app[BUILDER].events(record.id)
    try:
        with while_key_is_good(request):
            async for found in _with_heartbeats(stream, stopping):
                line = f"data: {found.model_dump_json()}\n\n" if found is not None else ": still here\n\n"
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await response.write(line.encode())
    except (ConnectionResetError, TimeoutError):
        pass  # the reader has gone, or does not read: it may ask again
    finally:
        stopping.cancel()
    return response


async def _with_heartbeats(
    stream: AsyncIterator[AvatarRecord], stopping: asyncio.Future[Any]
) -> AsyncIterator[AvatarRecord | None]:
    """The stream's records, and None whenever nothing came for a while; ends with the stream or when `stopping`."""
    following: asyncio.Future[AvatarRecord] = asyncio.ensure_future(anext(stream))
    try:
        while True:
            await asyncio.wait((following, stopping), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return
            if not following.done():
                yield None
                continue
            try:
                record = following.result()
            except StopAsyncIteration:
                return
            yield record
            following = asyncio.ensure_future(anext(stream))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def _record(request: web.Request) -> AvatarRecord:
    """The avatar in the address; an id that cannot be one is simply not there."""
    try:
        return await asyncio.to_thread(request.app[STORE].get, request.match_info["avatar_id"])
    except AvatarError as error:
        if error.code == "invalid_id":
            raise AvatarError("not_found") from error
        raise
