"""The operations on tutors."""

from __future__ import annotations

from server.openapi import answers
from server.openapi.avatars import MADE, TRUTH, WAIT, YES_OR_NO
from server.openapi.operation import FORM, JSON, Answer, Body, Header, Operation, Parameter, json_body
from server.tutors_api import Change, NewTutor

LIMIT = Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
OFFSET = Parameter(
    "offset", "How many are passed over.", {"type": "integer", "minimum": 0, "maximum": 10_000_000, "default": 0}
)

_WORDS = ("description", "avatar_id", "voice", "language", "persona", "model")
_AWAY = "records_unavailable"

OPERATIONS = (
    Operation(
        "POST",
        "/v1/tutors",
        "createTutor",
        "Tutors and records",
        "teacher",
        "Make a tutor, with a video in the same call if there is one",
        {201: Answer("It is in the database.", answers.TutorShown, headers=(Header("Location", "Its address."),))},
        Body(
            {
                JSON: NewTutor,
                FORM: {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "minLength": 1, "maxLength": 200},
                        "id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"},
                        **{name: {"type": "string"} for name in _WORDS},
                        "video_file": {"type": "string", "format": "binary"},
                        "apply_blur": {**TRUTH, "description": "Blur the background."},
                        "consent": {**TRUTH, "description": "The person shown agrees."},
                    },
                    "required": ["name"],
                },
            }
        ),
        (WAIT,),
        (*MADE, "unknown_voice", "unknown_avatar", _AWAY),
        text="Of a video an avatar is made and linked. A video that is refused leaves no tutor.",
    ),
    Operation(
        "GET",
        "/v1/tutors",
        "listTutors",
        "Tutors and records",
        "teacher",
        "All tutors, by name",
        {200: Answer("A page of them.", answers.TutorList)},
        parameters=(Parameter("search", "Part of the name.", {"type": "string"}), LIMIT, OFFSET),
        problems=("invalid_request", _AWAY),
    ),
    Operation(
        "GET",
        "/v1/tutors/{tutor_id}",
        "showTutor",
        "Tutors and records",
        "teacher",
        "One tutor",
        {200: Answer("As it is now.", answers.TutorShown)},
        problems=("unknown_tutor", _AWAY),
    ),
    Operation(
        "PATCH",
        "/v1/tutors/{tutor_id}",
        "changeTutor",
        "Tutors and records",
        "teacher",
        "Change a tutor",
        {200: Answer("As it is now.", answers.TutorShown)},
        json_body(Change),
        problems=("unknown_tutor", "unknown_voice", "unknown_avatar", _AWAY),
        text="Only what is named is changed; null clears it. Sessions that run keep what they began with.",
    ),
    Operation(
        "DELETE",
        "/v1/tutors/{tutor_id}",
        "deleteTutor",
        "Tutors and records",
        "teacher",
        "Delete a tutor",
        {204: Answer("It has gone.")},
        parameters=(Parameter("avatar", "1: its avatar, too.", YES_OR_NO),),
        problems=("invalid_request", "unknown_tutor", "in_use", "avatar_shared", _AWAY),
    ),
)
