"""The operations on sessions."""

from __future__ import annotations

from server.openapi import answers
from server.openapi.codes import SPEECH
from server.openapi.operation import EVENT, EVENTS, FORM, WAIT, Answer, Body, Header, Operation, Parameter, json_body
from server.sessions_api import Ask, NewSession, Say

_NUMBER = {"type": "string", "pattern": "^[0-9]{0,18}$"}
_FILE = {"type": "string", "format": "binary"}

_LOCATION = Header("Location", "Its address.")

OPERATIONS = (
    Operation(
        "POST",
        "/v1/sessions",
        "createSession",
        "Sessions",
        "teacher",
        "Start a session",
        {
            201: Answer("It runs.", answers.SessionCreated, headers=(_LOCATION,)),
            202: Answer("There is no room, and it waits in line.", answers.SessionWaits, headers=(_LOCATION, WAIT)),
        },
        json_body(NewSession, {"avatar_id": "ada", "student_id": "s1"}),
        problems=(
            "unknown_tutor",
            "unknown_voice",
            "no_avatar",
            "records_unavailable",
            "invalid_id",
            "not_found",
            "not_ready",
            "avatar_failed",
            "damaged",
            "disk_full",
            "at_capacity",
            "student_being_deleted",
            "draining",
            "recording_off",
            "recording_unavailable",
            "recordings_full",
        ),
        text=(
            "Name the tutor_id or the avatar_id. A tutor brings its avatar, voice, persona, language and model; a "
            "tutor_id without a tutor stands for the newest ready avatar that was made with it."
        ),
    ),
    Operation(
        "GET",
        "/v1/sessions",
        "listSessions",
        "Sessions",
        "service",
        "All sessions",
        {200: Answer("All that have not ended.", answers.SessionList)},
    ),
    Operation(
        "GET",
        "/v1/sessions/{session_id}",
        "showSession",
        "Sessions",
        "session",
        "One session",
        {200: Answer("As it is now.", answers.SessionShown)},
    ),
    Operation(
        "DELETE",
        "/v1/sessions/{session_id}",
        "endSession",
        "Sessions",
        "session",
        "End a session",
        {204: Answer("It has ended, and everything of it is freed.")},
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/token",
        "renewToken",
        "Sessions",
        "session",
        "A fresh engine_token",
        {200: Answer("It, and the addresses that carry it.", answers.Renewed)},
        text="The old one stays good until it expires. An expired one renews nothing: then a key does.",
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/ask",
        "ask",
        "Sessions",
        "session",
        "Ask the tutor",
        {202: Answer("It will answer; what it says now is dropped.", answers.Asked)},
        json_body(Ask, {"text": "What is a prime number?"}),
        problems=SPEECH,
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/say",
        "say",
        "Sessions",
        "session",
        "Let the tutor say something",
        {202: Answer("It is spoken after what is queued.", answers.Said)},
        json_body(Say, {"text": "Good morning."}),
        problems=(*SPEECH, "unknown_voice"),
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/audio",
        "playAudio",
        "Sessions",
        "session",
        "Let the tutor speak a recording",
        {202: Answer("It is spoken after what is queued.", answers.Said)},
        Body(
            {
                "audio/*": _FILE,
                FORM: {
                    "type": "object",
                    "properties": {"file": _FILE, "text": {"type": "string", "description": "For the captions."}},
                    "required": ["file"],
                },
            }
        ),
        problems=(*SPEECH, "busy", "audio_empty", "audio_unreadable", "audio_too_long"),
        text="The file as the body, or in a form. Any format that PyAV reads.",
    ),
    Operation(
        "POST",
        "/v1/sessions/{session_id}/interrupt",
        "interrupt",
        "Sessions",
        "session",
        "Stop the tutor",
        {200: Answer("It is silent.", answers.Interrupted)},
    ),
    Operation(
        "GET",
        "/v1/sessions/{session_id}/events",
        "sessionEvents",
        "Sessions",
        "session",
        "What happens in a session",
        {200: Answer("Server-sent events until the session ends: docs/protocol.md.", EVENT, EVENTS)},
        parameters=(
            Parameter("Last-Event-ID", "Go on after this event.", _NUMBER, "header"),
            Parameter("last_event_id", "The same.", _NUMBER),
        ),
        problems=("too_many_readers",),
    ),
    Operation(
        "GET",
        "/v1/sessions/{session_id}/preview.jpg",
        "sessionPreview",
        "Sessions",
        "session",
        "A still of its tutor",
        {200: Answer("A JPEG.", {"type": "string", "format": "binary"}, "image/jpeg")},
        problems=("not_ready",),
    ),
    Operation(
        "GET",
        "/v1/sessions/{session_id}/stats",
        "sessionStats",
        "Sessions",
        "session",
        "A session in figures",
        {200: Answer("Frames, mouths, bitrates, each connection.", answers.SessionFigures)},
    ),
    Operation(
        "GET",
        "/v1/voices",
        "listVoices",
        "Sessions",
        "teacher",
        "Voices that a session can have",
        {200: Answer("Names for `voice`.", answers.VoiceList)},
    ),
)
