"""LiveTalking's interface. Its failures have a shape of their own: docs/livetalking.md."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from server.livetalking.api import Human, Named, Offer, Record
from server.openapi.answers import Told
from server.openapi.codes import FORM_BODY, JSON_BODY, OFFER, SPEECH, by_status
from server.openapi.operation import EVENTS, FORM, Answer, Body, Operation, Parameter, Role, json_body


class LiveTalkingOk(Told):
    code: Literal[0]
    msg: Literal["ok"]


class LiveTalkingSpeaking(LiveTalkingOk):
    data: bool


class LiveTalkingFailed(Told):
    """error: the code that the same failure has elsewhere."""

    code: Literal[-1]
    msg: str
    error: str


class LiveTalkingAnswer(Told):
    """sessionid: a number. Whoever knows it may steer the session."""

    sdp: str
    type: Literal["answer"]
    sessionid: str


_OK = {200: Answer("Done.", LiveTalkingOk)}
_FOUND = ("livetalking_off", "session_not_found")
_FILE = {"type": "string", "format": "binary"}
_TEXT = "Off unless livetalking.enabled. Made for clients of LiveTalking; new ones use /v1."


def _operation(
    method: str,
    path: str,
    name: str,
    role: Role,
    summary: str,
    answers: dict[int, Answer],
    *codes: str,
    body: Body | None = None,
    parameters: tuple[Parameter, ...] = (),
) -> Operation:
    failures = {
        status: Answer(f"{HTTPStatus(status).phrase}: {', '.join(found)}", LiveTalkingFailed)
        for status, found in by_status(codes).items()
    }
    return Operation(
        method, path, name, "Other clients", role, summary, {**failures, **answers}, body, parameters, text=_TEXT
    )


_KEY = ("unauthorized", "forbidden")

OPERATIONS = (
    _operation(
        "POST",
        "/offer",
        "livetalkingOffer",
        "service",
        "Start a session and watch it",
        {200: Answer("The answer to the offer.", LiveTalkingAnswer)},
        *(
            "livetalking_off",
            *_KEY,
            *JSON_BODY,
            *OFFER,
            "unknown_tutor",
            "not_found",
            "no_avatar",
            "avatar_failed",
            "student_being_deleted",
        ),
        *("invalid_id", "records_unavailable"),
        body=json_body(Offer),
    ),
    _operation(
        "POST",
        "/human",
        "livetalkingHuman",
        "open",
        "Let the tutor say or answer a text",
        _OK,
        *(*_FOUND, *JSON_BODY, *SPEECH, "unknown_voice"),
        body=json_body(Human),
    ),
    _operation(
        "POST",
        "/humanaudio",
        "livetalkingHumanAudio",
        "open",
        "Let the tutor speak a recording",
        _OK,
        *(*_FOUND, *FORM_BODY, *SPEECH, "busy", "audio_empty", "audio_unreadable", "audio_too_long"),
        body=Body(
            {
                FORM: {
                    "type": "object",
                    "properties": {"file": _FILE, "sessionid": {"type": "string"}},
                    "required": ["file", "sessionid"],
                }
            }
        ),
    ),
    _operation(
        "POST",
        "/interrupt_talk",
        "livetalkingInterrupt",
        "open",
        "Stop the tutor",
        _OK,
        *(*_FOUND, *JSON_BODY),
        body=json_body(Named),
    ),
    _operation(
        "POST",
        "/is_speaking",
        "livetalkingSpeaking",
        "open",
        "Whether the tutor speaks",
        {200: Answer("Whether it does.", LiveTalkingSpeaking)},
        *(*_FOUND, *JSON_BODY),
        body=json_body(Named),
    ),
    _operation(
        "POST",
        "/set_audiotype",
        "livetalkingAudiotype",
        "open",
        "Not supported",
        {},
        *(*_FOUND, *JSON_BODY, "not_supported"),
        body=json_body(Named),
    ),
    _operation(
        "POST",
        "/record",
        "livetalkingRecord",
        "service",
        "Start or stop recording",
        _OK,
        *(*_FOUND, *_KEY, *JSON_BODY, "recording_off", "recording_unavailable", "recordings_full", "disk_full"),
        *("already_recording", "not_recording"),
        body=json_body(Record),
    ),
    _operation(
        "GET",
        "/record/{sessionid}",
        "livetalkingRecording",
        "service",
        "The newest recording of a session",
        {
            200: Answer("The film.", _FILE, "video/*"),
            206: Answer("The part that Range asks for.", _FILE, "video/*"),
            304: Answer("It has not changed."),
            412: Answer("It has changed."),
            416: Answer("It has no such part."),
        },
        *(*_FOUND, *_KEY, "recording_not_found", "recording_empty"),
    ),
    _operation(
        "GET",
        "/sse",
        "livetalkingEvents",
        "open",
        "When an utterance starts and ends",
        {200: Answer("Server-sent events until the session ends.", {"type": "string"}, EVENTS)},
        *(*_FOUND, "too_many_readers"),
        parameters=(Parameter("sessionid", "The number that /offer gave.", {"type": "string"}),),
    ),
)
