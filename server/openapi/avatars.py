"""The operations on avatars."""

from __future__ import annotations

from server.avatars_api import Import
from server.openapi import answers
from server.openapi.codes import VIDEO
from server.openapi.operation import EVENT, EVENTS, FORM, Answer, Body, Header, Operation, Parameter, json_body

YES_OR_NO = {"type": "string", "enum": ["0", "1", "false", "true", ""]}
WAIT = Parameter("wait", "1: answer only when it is ready, or has failed.", YES_OR_NO)
TRUTH = {"type": "string", "enum": ["true", "false"]}
_ACCEPTED = {
    201: Answer(
        "The video is accepted; the rest is prepared in the background.",
        answers.AvatarAccepted,
        headers=(Header("Location", "Its address."),),
    )
}
MADE = (
    *VIDEO,
    "invalid_id",
    "exists",
    "consent_required",
    "busy",
    "cancelled",
    "no_segmentation",
    "models_missing",
    "interrupted",
    "disk_full",
)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/avatars",
        "createAvatar",
        "Avatars",
        "teacher",
        "Make an avatar of a video on the server",
        _ACCEPTED,
        json_body(Import, {"avatar_id": "ada", "video_path": "ada.mp4", "consent": True}),
        (WAIT,),
        (*MADE, "forbidden_path", "no_such_file"),
        text="The video must be inside avatars.import_dirs.",
    ),
    Operation(
        "POST",
        "/v1/avatars/upload",
        "uploadAvatar",
        "Avatars",
        "teacher",
        "Make an avatar of an upload",
        _ACCEPTED,
        Body(
            {
                FORM: {
                    "type": "object",
                    "properties": {
                        "avatar_id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"},
                        "video_file": {"type": "string", "format": "binary"},
                        "tutor_id": {"type": "string", "maxLength": 200},
                        "apply_blur": {**TRUTH, "description": "Blur the background."},
                        "consent": {**TRUTH, "description": "The person shown agrees."},
                    },
                    "required": ["avatar_id", "video_file"],
                }
            }
        ),
        (WAIT,),
        MADE,
    ),
    Operation(
        "GET",
        "/v1/avatars",
        "listAvatars",
        "Avatars",
        "teacher",
        "All avatars",
        {200: Answer("All, whatever their state.", answers.AvatarList)},
    ),
    Operation(
        "GET",
        "/v1/avatars/{avatar_id}",
        "showAvatar",
        "Avatars",
        "teacher",
        "One avatar",
        {200: Answer("As it is now.", answers.AvatarNamed)},
    ),
    Operation(
        "DELETE",
        "/v1/avatars/{avatar_id}",
        "deleteAvatar",
        "Avatars",
        "teacher",
        "Delete an avatar",
        {204: Answer("It has gone.")},
        problems=("in_use",),
    ),
    Operation(
        "GET",
        "/v1/avatars/{avatar_id}/events",
        "avatarEvents",
        "Avatars",
        "teacher",
        "Follow its preparation",
        {200: Answer("Server-sent events; `data` is the record. Ends at ready or failed.", EVENT, EVENTS)},
    ),
    Operation(
        "GET",
        "/v1/avatars/{avatar_id}/preview.jpg",
        "avatarPreview",
        "Avatars",
        "teacher",
        "Its picture",
        {200: Answer("A JPEG.", {"type": "string", "format": "binary"}, "image/jpeg")},
        problems=("not_ready",),
    ),
)
