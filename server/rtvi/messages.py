"""RTVI's messages: what a client may send, as models; what it is sent, as plain objects with label, type and data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

VERSION = "2.1.0"
"""Of the protocol."""

LABEL = "rtvi-ai"

PEER_LEFT = {"type": "signalling", "message": {"type": "peerLeft"}}
"""The client then disconnects by itself."""

_IGNORED = frozenset({"ui-event", "ui-snapshot", "ui-cancel-job-group", "llm-function-call-result", "raw-audio"})
"""A client's own matters, some of them sent by the second: nothing here waits for them."""

_Id = Annotated[str, Field(max_length=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


# -- from the client ----------------------------------------------------------------------------------------------


class ClientReadyData(_Model):
    version: Annotated[str, Field(max_length=40)] = ""


class ClientReady(_Model):
    """The client listens from now on; bot-ready answers."""

    type: Literal["client-ready"]
    id: _Id
    data: ClientReadyData = ClientReadyData()


class SendTextOptions(_Model):
    run_immediately: bool = True
    audio_response: bool = True


class SendTextData(_Model):
    content: Annotated[str, Field(min_length=1)]
    options: SendTextOptions = SendTextOptions()


class SendText(_Model):
    """The student typed; what the tutor says now is dropped."""

    type: Literal["send-text"]
    id: _Id
    data: SendTextData


class ContextData(_Model):
    role: Literal["user"]
    content: Annotated[str, Field(min_length=1)]
    run_immediately: bool = False


class AppendToContext(_Model):
    """What send-text was in version 1; the clients still have it."""

    type: Literal["append-to-context"]
    id: _Id
    data: ContextData


class ClientMessageData(_Model):
    t: Annotated[str, Field(max_length=100)]
    d: Any = None


class ClientMessage(_Model):
    """An application's own message; here `interrupt` and `say`."""

    type: Literal["client-message"]
    id: _Id
    data: ClientMessageData


class SayData(_Model):
    text: Annotated[str, Field(min_length=1)]
    voice: Annotated[str, Field(max_length=100)] | None = None


class DisconnectBot(_Model):
    """The tutor leaves; its session stays."""

    type: Literal["disconnect-bot"]
    id: _Id


Incoming = Annotated[
    ClientReady | SendText | AppendToContext | ClientMessage | DisconnectBot, Field(discriminator="type")
]
_INCOMING: TypeAdapter[Incoming] = TypeAdapter(Incoming)


@dataclass(frozen=True, slots=True)
class Nothing:
    """A message that needs nothing done: a sign of life, a track's state, a user interface's own events."""


class MessageError(Exception):
    """A message that cannot be understood. str() is a sentence for people; request_id: the message's own."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


def parse(text: str) -> Incoming | Nothing:
    """One message of a client. Raises MessageError."""
    if text.startswith("ping"):
        return Nothing()
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise MessageError("The message is not JSON.") from error
    if not isinstance(value, dict):
        raise MessageError("A message is a JSON object.")
    if value.get("type") == "signalling":
        return Nothing()
    if value.get("label") != LABEL:
        raise MessageError(f"A message has the label {LABEL}.")
    given = value.get("id")
    request_id = given if isinstance(given, str) and len(given) <= 100 else None
    kind = value.get("type")
    if isinstance(kind, str) and kind in _IGNORED:
        return Nothing()
    try:
        return _INCOMING.validate_python(value)
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False, include_input=False)
        if any(item["type"] in ("union_tag_invalid", "union_tag_not_found") for item in items):
            raise MessageError("This type of message is not supported here.", request_id) from error
        text = "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in items[:5])
        raise MessageError(f"The message is not as it should be: {text}", request_id) from error


def compatible(version: str) -> bool:
    """Whether a client of this protocol version understands what it is sent: the first number is the same."""
    return version.partition(".")[0] == VERSION.partition(".")[0]


# -- to the client ------------------------------------------------------------------------------------------------


Message = dict[str, Any]


def message(kind: str, data: Message | None = None, *, request_id: str | None = None) -> Message:
    """request_id: of the message that this one answers."""
    head = {"label": LABEL, "type": kind}
    return {**head, **({"id": request_id} if request_id is not None else {}), "data": data or {}}


def bot_ready(request_id: str, library_version: str) -> Message:
    about = {"library": "lectern", "library_version": library_version}
    return message("bot-ready", {"version": VERSION, "about": about}, request_id=request_id)


def server_response(request_id: str, kind: str, data: Any) -> Message:
    """The answer to a client-message."""
    return message("server-response", {"t": kind, "d": data}, request_id=request_id)


def error_response(request_id: str | None, text: str, code: str) -> Message:
    """A message could not be carried out; one without an id is told as an error of its own."""
    if request_id is None:
        return error(text, code)
    return message("error-response", {"error": text, "code": code}, request_id=request_id)


def error(text: str, code: str) -> Message:
    """Something went wrong; the session lives."""
    return message("error", {"error": text, "message": text, "fatal": False, "code": code})


def encode(value: Message) -> str:
    return json.dumps(value, ensure_ascii=False)
