"""Failures as RFC 9457 problem+json: one exception to raise, one middleware that turns all others into it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from avatars.errors import AvatarError
from pipeline.session import SessionClosed
from pipeline.voices.voice import VoiceError
from server.records.errors import RecordsUnavailable
from server.records.patience import REQUEST_SECONDS, patience

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_TYPE = "application/problem+json"

_HTTP_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "too_many_requests",
}


class ProblemError(Exception):
    """A request that cannot be served. `code` is stable and for programs; `detail` is a sentence for people.

    extra: further members of the JSON object (RFC 9457, section 3.2). headers: of the HTTP response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The problem object: type, title, status, code, detail and the extra members."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> web.Response:
        return web.Response(
            status=self.status,
            body=json.dumps(self.body(), ensure_ascii=False).encode(),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )


def at_capacity(detail: str, retry_after: float, **extra: Any) -> ProblemError:
    """The 503 of a full server; `retry_after` in seconds."""
    return not_now("at_capacity", detail, retry_after, **extra)


def not_now(code: str, detail: str, retry_after: float, **extra: Any) -> ProblemError:
    """A 503 that says when to ask again, in seconds."""
    seconds = max(1, round(retry_after))
    headers = {"Retry-After": str(seconds)}
    return ProblemError(503, code, detail, headers=headers, retry_after=seconds, **extra)


def invalid(error: ValidationError, *, status: int = 422) -> ProblemError:
    """A request whose fields do not fit the model: each with its path and a sentence, without echoing the input."""
    errors = []
    sentences = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"]) or "(body)"
        missing = item["type"] == "missing"
        message = "This field is missing." if missing else item["msg"]
        errors.append({"field": field, "message": message, "type": item["type"]})
        sentences.append(f"The field {field} is missing." if missing else f"{field}: {message}.")
    return ProblemError(status, "invalid_request", " ".join(sentences[:5]), errors=errors)


def from_http(error: web.HTTPException) -> ProblemError:
    """aiohttp's own errors (no such route, wrong method, body too large). Its headers (Allow, …) are kept."""
    status = error.status
    detail = error.reason
    if status == 404:
        detail = "There is nothing at this address."
    elif status == 405:
        detail = "This address does not take this method; see the Allow header."
    elif status == 413:
        detail = "The body of the request is larger than this address accepts."
    elif isinstance(error, web.HTTPBadRequest) and error.text:
        detail = error.text.removeprefix("400: ")[:300]
    headers = {
        name: error.headers[name] for name in ("Allow", "Retry-After", "WWW-Authenticate") if name in error.headers
    }
    return ProblemError(status, _HTTP_CODES.get(status, f"http_{status}"), detail, headers=headers)


_VOICE_STATUS = {
    "cannot_say": 422,
    "unknown_voice": 422,
    "audio_unreadable": 422,
    "audio_empty": 422,
    "audio_too_long": 413,
    "disk_full": 507,
}

_AVATAR_STATUS = {
    "not_found": 404,
    "exists": 409,
    "not_ready": 409,
    "in_use": 409,
    "cancelled": 409,
    "forbidden_path": 403,
    "too_large": 413,
    "busy": 503,
    "models_missing": 503,
    "no_segmentation": 503,
    "interrupted": 503,
    "disk_full": 507,
    "engine_failed": 500,
    "damaged": 500,
    "internal": 500,
}


def as_problem(error: Exception) -> ProblemError | None:
    """The problem that an exception of ours means to a client; None: it was not expected."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, AvatarError):
        return from_avatar(error)
    if isinstance(error, VoiceError):
        # an online voice that does not answer is 502
        return ProblemError(_VOICE_STATUS.get(error.code, 502), error.code, str(error))
    if isinstance(error, RecordsUnavailable):
        log.error("records_unavailable", why=str(error))
        detail = "The server's database does not answer now. Try again soon; if it goes on, tell the operator."
        return ProblemError(503, "records_unavailable", detail, headers={"Retry-After": "5"}, retry_after=5)
    if isinstance(error, SessionClosed):
        return ProblemError(409, "session_stopped", "This session's picture and sound have stopped. Start a new one.")
    return None


def unexpected(error: Exception, **context: Any) -> ProblemError:
    """The problem of an exception that nobody waits for: what was not expected is logged, with `context`."""
    problem = as_problem(error)
    if problem is None:
        log.error("failed_in_background", exc_info=error, **context)
        problem = ProblemError(500, "internal_error", "The server met an error it did not expect.")
    return problem


def from_avatar(error: AvatarError) -> ProblemError:
    """What is wrong with a video or a picture is 422."""
    status = _AVATAR_STATUS.get(error.code, 422)
    return ProblemError(status, error.code, str(error), headers={"Retry-After": "60"} if status == 503 else None)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as a problem. An unexpected one is a 500 with an id that leads to its traceback in the log."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return from_http(error).response()
    except ConnectionResetError:
        # The client has gone. aiohttp drops this answer; raised, it would log a traceback for each aborted upload.
        return ProblemError(400, "client_gone", "The connection was closed before the request was complete.").response()
    except Exception as error:
        problem = as_problem(error)
        if problem is not None:
            return problem.response()
        incident = uuid.uuid4().hex[:12]
        log.exception("request_failed", incident=incident, method=request.method, route=route_of(request))
        return ProblemError(
            500,
            "internal_error",
            f"The server met an error it did not expect. Its log has the details under {incident}.",
            incident=incident,
        ).response()


@web.middleware
async def patient(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Who asks hears in time that the database does not answer."""
    with patience(REQUEST_SECONDS):
        return await handler(request)


def route_of(request: web.Request) -> str:
    """The route's pattern, safe for logs: it holds no ids and no query (tokens travel there)."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(none)"
