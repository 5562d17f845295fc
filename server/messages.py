"""The WebSocket's messages: what may come in, as models; what goes out, as plain objects with a `type`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from pipeline.events import Event


class _Incoming(BaseModel):
    """request_id: the client's own, comes back in the direct answer and in an error."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: Annotated[str, Field(max_length=100)] | None = None


class Init(_Incoming):
    """The first message of a client; voice: the session's from now on."""

    type: Literal["init"]
    voice: Annotated[str, Field(max_length=100)] | None = None


class Text(_Incoming):
    """Ask the tutor."""

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1)]


class Say(_Incoming):
    """Speak this, word by word."""

    type: Literal["say"]
    text: Annotated[str, Field(min_length=1)]
    voice: Annotated[str, Field(max_length=100)] | None = None


class Audio(_Incoming):
    """A recording: a whole file of any format PyAV reads, in base64. speaker: whose it is; the tutor's is spoken (text:
    for the captions), the student's is heard and answered.
    """

    type: Literal["audio"]
    data: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(max_length=10_000)] = ""
    speaker: Literal["tutor", "student"] = "tutor"


class Interrupt(_Incoming):
    """Stop speaking."""

    type: Literal["interrupt"]


class Stay(_Incoming):
    """Somebody is there, though nobody says anything: counts as talk for the idle time-out."""

    type: Literal["stay"]


class WebRtcOffer(_Incoming):
    """Watch through this socket: its viewer goes when the socket goes."""

    type: Literal["webrtc_offer"]
    sdp: Annotated[str, Field(min_length=1)]


class WebRtcIceCandidate(_Incoming):
    """One more candidate of this socket's viewer; an empty or null candidate: there are no more."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    type: Literal["webrtc_ice_candidate"]
    candidate: Annotated[str, Field(max_length=2000)] | None = None
    sdp_mid: Annotated[str, Field(max_length=100)] | None = Field(default=None, alias="sdpMid")
    sdp_mline_index: Annotated[int, Field(ge=0, le=64)] | None = Field(default=None, alias="sdpMLineIndex")


Incoming = Annotated[
    Init | Text | Say | Audio | Interrupt | Stay | WebRtcOffer | WebRtcIceCandidate, Field(discriminator="type")
]
_INCOMING: TypeAdapter[Incoming] = TypeAdapter(Incoming)


class MessageError(Exception):
    """A message that is not understood. `code` is stable: invalid_json, unknown_type, invalid_message."""

    def __init__(self, code: str, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def parse(data: str) -> Incoming:
    """One incoming message. Raises MessageError."""
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise MessageError("invalid_json", "The message is not JSON.") from error
    if not isinstance(value, dict):
        raise MessageError("invalid_message", "A message is a JSON object with a type.")
    given = value.get("request_id")
    request_id = given[:100] if isinstance(given, str) else None
    try:
        return _INCOMING.validate_python(value)
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False, include_input=False)
        if any(item["type"] in ("union_tag_invalid", "union_tag_not_found") for item in items):
            raise MessageError("unknown_type", "This type of message is not known.", request_id) from error
        text = "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in items[:5])
        raise MessageError("invalid_message", text, request_id) from error


def outgoing(event: Event) -> dict[str, Any]:
    """A session's event as a message."""
    return event.as_message()


def error_message(code: str, message: str, request_id: str | None = None, **extra: Any) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "request_id": request_id, **extra}
