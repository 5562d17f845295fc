"""A form with text fields and a video, which is streamed to disk and never lies in memory."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from avatars.store import AvatarStore
from server.bodies import FIELD_LIMIT, PartSource, disk_full, next_part, read_form, stream_to_file, text_field
from server.problems import ProblemError

VIDEO = "video_file"
_MAX_PARTS = 20
_SPARE_BYTES = 100 << 20  # left on the disk by an upload

Check = Callable[[str, str], Awaitable[None]]
"""Is told each field's name and text as it comes, so that it can refuse before the video has travelled."""


@dataclass(frozen=True, slots=True)
class VideoForm:
    """fields: the last of each name. video: where the file lies; None: the form has none."""

    fields: Mapping[str, str]
    video: Path | None


@contextlib.asynccontextmanager
async def video_form(
    request: web.Request,
    store: AvatarStore,
    limit: int,
    check: Check,
    *,
    names: Collection[str],
    field_limits: Mapping[str, int] | None = None,
) -> AsyncIterator[VideoForm]:
    """The form in a request's body; its file is gone after the block unless it was moved away.

    limit: of the video, in bytes. names: the text fields; others are passed over, a file in one is refused.
    field_limits: bytes of fields that may be longer than others. The parts may come in any order. 400 bad_multipart,
    408, 413 too_large, 415 unsupported_media_type, 422 invalid_request, 507 disk_full.
    """
    if request.content_type != "multipart/form-data":
        raise ProblemError(415, "unsupported_media_type", "Send a form: Content-Type multipart/form-data.")
    announced = request.content_length or 0
    if announced > limit + (1 << 20):
        raise ProblemError(413, "too_large", f"The video is larger than {limit >> 20} MB.", limit_bytes=limit)
    if shutil.disk_usage(store.uploads).free < announced + _SPARE_BYTES:
        raise disk_full()
    target = store.uploads / f"{uuid.uuid4().hex}.part"
    try:
        yield await _read(request, target, limit, check, names, field_limits or {})
    finally:
        target.unlink(missing_ok=True)


async def _read(
    request: web.Request,
    target: Path,
    limit: int,
    check: Check,
    names: Collection[str],
    field_limits: Mapping[str, int],
) -> VideoForm:
    reader = await read_form(request)
    fields: dict[str, str] = {}
    video: Path | None = None
    for _ in range(_MAX_PARTS):
        part = await next_part(reader)
        if part is None:
            return VideoForm(fields, video)
        if part.name == VIDEO:
            if video is not None:
                raise ProblemError(422, "invalid_request", f"Send one {VIDEO}.")
            video = target
            await stream_to_file(PartSource(part), target, limit)
            continue
        name = part.name or ""
        if part.filename is not None and name not in names:
            raise ProblemError(
                422,
                "invalid_request",
                f"The form has a file in the field {name[:60]!r}, which is unknown. Send the video as {VIDEO}.",
            )
        text = await text_field(part, field_limits.get(name, FIELD_LIMIT))
        fields[name] = text
        await check(name, text)
    raise ProblemError(400, "bad_multipart", f"The form has more than {_MAX_PARTS} parts.")
