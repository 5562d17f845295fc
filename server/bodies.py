"""Request bodies: JSON into models, and files streamed to disk, both under limits of size and time."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from time import monotonic
from typing import Annotated, Protocol, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import from_json

from server.problems import ProblemError

M = TypeVar("M", bound=BaseModel)


_NO_NUL = r"^[^\x00]*$"  # a database cannot keep it


def digits(value: object) -> object:
    """A whole number as its digits: other systems number their students and tutors."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if abs(value) < 1 << 63 and value == int(value) else value


def id_schema(most: int, *, least: int = 1, pattern: str | None = None) -> WithJsonSchema:
    text = {"type": "string", "minLength": least, "maxLength": most, "pattern": pattern or _NO_NUL}
    number = {"type": "integer", "minimum": 0 if pattern else 1 - (1 << 63), "maximum": (1 << 63) - 1}
    return WithJsonSchema({"anyOf": [text, number]})


Id = Annotated[str, BeforeValidator(digits), Field(min_length=1, max_length=200, pattern=_NO_NUL), id_schema(200)]
"""Another system's name for something: a string, or a whole number."""

IdOrEmpty = Annotated[str, BeforeValidator(digits), Field(max_length=200, pattern=_NO_NUL), id_schema(200, least=0)]

AvatarId = Annotated[
    str,
    BeforeValidator(digits),
    Field(max_length=1000),
    id_schema(64, pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"),
]
"""Of an avatar that is to be made; avatars.record.check_id refuses other forms, with a code of its own."""

JSON_LIMIT = 1 << 20  # bytes
FIELD_LIMIT = 4096  # bytes of one text field of a form
READ_SECONDS = 30.0  # the next piece of a body or stream has to come within this
SMALL_SECONDS = 60.0  # all of a body that is kept in memory
SLOWEST = 4096  # bytes a second that a file has to come with, on the whole, once SMALL_SECONDS have passed
_BLOCK = 1 << 20
_BROKEN = (ValueError, AssertionError, HttpProcessingError)  # what aiohttp raises on a form that is none


class ByteSource(Protocol):
    """Where a file comes from: a part of a form or a whole body."""

    async def next(self) -> bytes:
        """The next piece; b"" at the end."""


class PartSource:
    """The bytes of one part of a multipart body."""

    def __init__(self, part: BodyPartReader) -> None:
        self._part = part

    async def next(self) -> bytes:
        return bytes(await self._part.read_chunk(1 << 16))


class BodySource:
    """The bytes of a raw body. 415 unsupported_media_type where it is compressed."""

    def __init__(self, request: web.Request) -> None:
        refuse_packed(request)
        self._content = request.content

    async def next(self) -> bytes:
        return await self._content.readany()


async def read_json(request: web.Request, model: type[M]) -> M:
    """The body as `model`. 400 invalid_json, 413 too_large, 415 unsupported_media_type, 422 invalid_request."""
    kind = request.content_type
    if kind not in ("application/json", "application/octet-stream") and not kind.endswith("+json"):
        raise ProblemError(415, "unsupported_media_type", "Send JSON, with Content-Type: application/json.")
    body = await read_limited(BodySource(request), JSON_LIMIT, request.content_length)
    return model.model_validate(parse_json(body))


def parse_json(body: bytes | str) -> object:
    """400 invalid_json when it is none, or is nested too deep."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(400, "invalid_json", f"The body is not JSON: {error}.") from error


async def read_limited(source: ByteSource, limit: int, announced: int | None = None) -> bytes:
    """All bytes, at most `limit`: 413 too_large. 408 when they do not come."""
    if announced is not None and announced > limit:
        raise _too_large(limit)
    body = bytearray()
    began = monotonic()
    while piece := await _next(source):
        body += piece
        if len(body) > limit:
            raise _too_large(limit)
        if monotonic() - began > SMALL_SECONDS:
            raise _too_slow()
    return bytes(body)


async def stream_to_file(source: ByteSource, path: Path, limit: int, announced: int | None = None) -> int:
    """Write a stream to a new file, at most `limit` bytes; gives their number. On any failure the file is removed.

    413 too_large, 408 request_timeout, 507 disk_full.
    """
    if announced is not None and announced > limit:
        raise _too_large(limit)
    written = 0
    began = monotonic()
    complete = False
    try:
        file = path.open("xb", 0)
        try:
            block = bytearray()
            while True:
                piece = await _next(source)
                written += len(piece)
                if written > limit:
                    raise _too_large(limit)
                if monotonic() - began > SMALL_SECONDS + written / SLOWEST:
                    raise _too_slow()
                block += piece
                if block and (len(block) >= _BLOCK or not piece):
                    await asyncio.to_thread(_write_all, file, bytes(block))
                    block.clear()
                if not piece:
                    break
        finally:
            file.close()
        complete = True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full() from error
        raise
    finally:
        if not complete:
            path.unlink(missing_ok=True)
    return written


async def read_form(request: web.Request) -> MultipartReader:
    """The parts of a form's body. 400 bad_multipart, 415 unsupported_media_type."""
    refuse_packed(request)
    try:
        return await request.multipart()
    except (*_BROKEN, KeyError) as error:  # KeyError: it has no Content-Type
        raise _broken() from error


async def text_field(part: BodyPartReader, limit: int = FIELD_LIMIT) -> str:
    """A text field of a form, at most `limit` bytes. 413 too_large, 400 bad_request when it is not UTF-8."""
    body = await read_limited(PartSource(part), limit)
    try:
        return body.decode().strip()
    except UnicodeDecodeError as error:
        raise ProblemError(400, "bad_request", f"The field {part.name!r} is not UTF-8 text.") from error


async def next_part(reader: MultipartReader) -> BodyPartReader | None:
    """The next part of a form, None at its end. 400 bad_multipart: the form is broken; 408: it does not come."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            part = await reader.next()
    except TimeoutError as error:
        raise _timeout() from error
    except _BROKEN as error:
        raise _broken() from error
    if part is None or isinstance(part, BodyPartReader):
        return part
    raise ProblemError(400, "bad_multipart", "A form inside a form is not accepted.")


def disk_full() -> ProblemError:
    return ProblemError(507, "disk_full", "The server's disk is full; nothing was kept. Its operator has to make room.")


def truth(text: str, field: str) -> bool:
    """A form's yes or no. 422 invalid_request."""
    value = text.lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise ProblemError(422, "invalid_request", f"{field}: write true or false.")


def _write_all(file: object, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]  # type: ignore[attr-defined]


async def _next(source: ByteSource) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await source.next()
    except TimeoutError as error:
        raise _timeout() from error
    except _BROKEN as error:
        raise _broken() from error


def _broken() -> ProblemError:
    return ProblemError(400, "bad_multipart", "The form is broken: its parts cannot be told apart.")


def _timeout() -> ProblemError:
    return ProblemError(408, "request_timeout", f"Nothing came for {READ_SECONDS:.0f} s; the request was given up.")


def _too_slow() -> ProblemError:
    return ProblemError(408, "request_timeout", "The request came too slowly; it was given up.")


def refuse_packed(request: web.Request) -> None:
    """415 unsupported_media_type for a body that is compressed: it could be a thousand times as large as it looks."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        detail = "Send the body as it is, without Content-Encoding."
        raise ProblemError(415, "unsupported_media_type", detail, headers={"Accept-Encoding": "identity"})


def _too_large(limit: int) -> ProblemError:
    size = f"{limit >> 20} MB" if limit >= 1 << 20 else f"{limit} bytes"
    return ProblemError(413, "too_large", f"This is larger than the {size} that are accepted.", limit_bytes=limit)
