"""What is told of one operation of the HTTP interface: plain data, from which the OpenAPI document is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}

Role = Literal["open", "session", "token", "bearer", "service", "teacher", "admin"]
"""Who may call. open: everybody. session: who has the session's engine_token, or may steer sessions. token: only who
has the engine_token. bearer: the same, in the header only. service, teacher, admin: a key of that role, or an admin's.
"""

Tag = Literal[
    "Sessions",
    "Avatars",
    "Tutors and records",
    "WebRTC",
    "Recordings",
    "Outputs",
    "Operating",
    "Administration",
    "Other clients",
]


@dataclass(frozen=True, slots=True)
class Header:
    """Of an answer. required: it is always there."""

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = True


WAIT = Header("Retry-After", "Seconds until it may be its turn, a guess.", {"type": "integer"}, required=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """How an operation answers when it went well. kind: the type of its body (a pydantic model, a dataclass, …), or its
    schema where that is no JSON; None: no body.
    """

    text: str
    kind: Any = None
    media: str = JSON
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """Of a request: one kind for each content type that is taken. A mapping is a schema, anything else a type that
    pydantic checks. example: of JSON, to try the operation with.
    """

    kinds: Mapping[str, Any]
    required: bool = True
    example: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """In the query or a header; those in the path are taken from it."""

    name: str
    text: str
    schema: Mapping[str, Any]
    where: Literal["query", "header"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. problems: codes of server.openapi.codes, beside those that role and body bring."""

    method: str
    path: str
    name: str
    tag: Tag
    role: Role
    summary: str
    answers: Mapping[int, Answer]
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    text: str = ""


def or_empty(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of a parameter that, sent empty, counts as not sent."""
    return {"anyOf": [schema, {"const": ""}]}


def json_body(model: Any, example: Mapping[str, Any] | None = None) -> Body:
    return Body({JSON: model}, example=example)
