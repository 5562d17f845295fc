"""The OpenAPI 3.1 document, built from the operations and the models that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from server.openapi.answers import ProblemDetails
from server.openapi.codes import ALWAYS, FORM_BODY, JSON_BODY, by_status
from server.openapi.operation import FORM, JSON, Answer, Body, Operation, Parameter, Role
from server.problems import CONTENT_TYPE

_ABOUT = """\
Starts tutors with a teacher's face, steers them and shows them.

Every failure is `application/problem+json` (RFC 9457) with a stable `code`; a server that met an error of its own
answers 500 `internal_error`. Where no key is configured, everybody on this machine may do everything. What takes GET
takes HEAD, but for server-sent events.
"""

_WHO: dict[Role, str] = {
    "open": "Everybody.",
    "session": "Who has the session's engine_token, or a key that may steer sessions.",
    "token": "Who has the session's engine_token.",
    "bearer": "Who has the session's engine_token; in the header, not in the address.",
    "service": "The school's own server, or an admin.",
    "teacher": "A teacher, the school's own server, or an admin.",
    "admin": "An admin.",
}

_SECURITY: dict[Role, list[dict[str, list[str]]]] = {
    "open": [],
    "session": [{"key": []}, {"token": []}],
    "token": [{"token": []}],
    "bearer": [{"token": []}],
    "service": [{"key": []}],
    "teacher": [{"key": []}],
    "admin": [{"key": []}],
}

_BY_ROLE: dict[Role, tuple[str, ...]] = {
    "open": (),
    "session": ("wrong_token", "token_expired", "unauthorized", "forbidden", "session_not_found"),
    "token": ("wrong_token", "token_expired", "session_not_found"),
    "bearer": ("wrong_token", "token_expired", "session_not_found"),
    "service": ("unauthorized", "forbidden"),
    "teacher": ("unauthorized", "forbidden"),
    "admin": ("unauthorized", "forbidden"),
}

_IN_PATH = {
    "session_id": "The session's id, as createSession gave it.",
    "avatar_id": "The avatar's id.",
    "tutor_id": "The tutor's id.",
    "sessionid": "The number that /offer gave.",
    "output_id": "The output's id, as startOutput gave it.",
    "recording_id": "The recording's id, as startRecording gave it.",
    "student_id": "The student's id, as createSession was told it.",
    "peer_id": "The connection's id, from its Location.",
}

_TOKEN = Parameter("token", "The engine_token, where a client cannot send headers.", {"type": "string"})
_BY_QUERY: dict[Role, tuple[Parameter, ...]] = {"session": (_TOKEN,), "token": (_TOKEN,)}

_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "token": {"type": "http", "scheme": "bearer", "description": "A session's engine_token."},
}

_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document, as JSON takes it. version: the server's."""
    types = _Types()
    for operation in operations:
        for kind in _body_kinds(operation):
            types.add(kind, "validation")
        for answer in operation.answers.values():
            types.add(answer.kind, "serialization")
    types.add(ProblemDetails, "serialization")
    schemas = types.schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, types)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lectern", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
    }


class _Types:
    """The types that the operations name, and their schemas, each once under its name."""

    def __init__(self) -> None:
        self._inputs: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
        self._schemas: dict[tuple[Any, JsonSchemaMode], dict[str, Any]] = {}

    def add(self, kind: Any, mode: JsonSchemaMode) -> None:
        if kind is not None and not isinstance(kind, Mapping):
            self._inputs.setdefault((kind, mode), TypeAdapter(kind))

    def schemas(self) -> dict[str, Any]:
        inputs = [(kind, mode, adapter) for (kind, mode), adapter in self._inputs.items()]
        found, rest = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
        self._schemas = dict(found)
        definitions: dict[str, Any] = rest.get("$defs", {})
        return dict(sorted(definitions.items()))

    def of(self, kind: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        return dict(kind) if isinstance(kind, Mapping) else self._schemas[kind, mode]


def _operation(operation: Operation, types: _Types) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": "\n\n".join(filter(None, (operation.text, f"For: {_WHO[operation.role]}"))),
        "security": _SECURITY[operation.role],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _IN_PATH[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    for each in (*operation.parameters, *_BY_QUERY.get(operation.role, ())):
        described_so = {"schema": dict(each.schema), "description": each.text}
        parameters.append({"name": each.name, "in": each.where, "required": each.required, **described_so})
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, types)
    answers = {str(status): _answer(answer, types) for status, answer in operation.answers.items()}
    for status, codes in by_status(_codes(operation)).items():
        problem = _problem(status, codes)
        if str(status) in answers:  # such as a readiness that is 503 and no problem
            answers[str(status)]["content"].update(problem["content"])
        else:
            answers[str(status)] = problem
    described["responses"] = dict(sorted(answers.items()))
    return described


def _body(body: Body, types: _Types) -> dict[str, Any]:
    content = {media: {"schema": types.of(kind, "validation")} for media, kind in body.kinds.items()}
    if body.example is not None:
        content[JSON]["example"] = dict(body.example)
    return {"required": body.required, "content": content}


def _codes(operation: Operation) -> list[str]:
    codes = [*ALWAYS, *_BY_ROLE[operation.role], *operation.problems]
    kinds = operation.body.kinds if operation.body is not None else {}
    if JSON in kinds:
        codes += JSON_BODY
    if FORM in kinds:
        codes += FORM_BODY
    if "{" in operation.path:
        codes.append("not_found")
    return codes


def _answer(answer: Answer, types: _Types) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.text}
    if answer.headers:
        described["headers"] = {
            header.name: {"description": header.text, "schema": dict(header.schema), "required": header.required}
            for header in answer.headers
        }
    if answer.kind is not None:
        described["content"] = {answer.media: {"schema": types.of(answer.kind, "serialization")}}
    return described


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/ProblemDetails"},
            {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
        ]
    }
    described: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {CONTENT_TYPE: {"schema": schema}},
    }
    if status in (429, 503):
        described["headers"] = _RETRY
    return described


def _body_kinds(operation: Operation) -> list[Any]:
    return list(operation.body.kinds.values()) if operation.body is not None else []
