"""The operations on recordings. The models describe the answers, as in server.openapi.answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from server.openapi.answers import Told
from server.openapi.operation import Answer, Header, Operation, Parameter
from server.openapi.tutors import LIMIT, OFFSET
from server.recorder.api import Filter
from server.recorder.record import Reason, State


class RecordingShown(Told):
    """seconds: the film's length. lost: how often the disk was too slow, so that some of it is missing."""

    recording_id: str
    session_id: str
    student_id: str
    tutor_id: str | None
    avatar_id: str
    state: State
    reason: Reason | None = Field(description="Why it ended; null while it runs.")
    format: str
    content_type: str
    started_at: datetime
    ended_at: datetime | None
    seconds: float
    bytes: int
    lost: int
    file_url: str


class RecordingList(Told):
    """total: all that fit. bytes: what all recordings of the server take."""

    total: int
    limit: int
    offset: int
    bytes: int
    items: list[RecordingShown]


_FILM = {"type": "string", "format": "binary"}
_TEXTS = {
    "session_id": "Of this session.",
    "student_id": "Of this student.",
    "tutor_id": "Of this tutor.",
}
_QUERY = Filter.model_json_schema()["properties"]

OPERATIONS = (
    Operation(
        "POST",
        "/v1/sessions/{session_id}/recording",
        "startRecording",
        "Recordings",
        "service",
        "Record a session",
        {
            201: Answer(
                "It is recorded, and the student sees it.",
                RecordingShown,
                headers=(Header("Location", "Its address."),),
            )
        },
        problems=(
            "session_not_found",
            "already_recording",
            "recording_off",
            "recording_unavailable",
            "recordings_full",
            "disk_full",
        ),
    ),
    Operation(
        "DELETE",
        "/v1/sessions/{session_id}/recording",
        "stopRecording",
        "Recordings",
        "service",
        "Stop recording a session",
        {200: Answer("The film is whole.", RecordingShown)},
        problems=("session_not_found", "not_recording"),
    ),
    Operation(
        "GET",
        "/v1/recordings",
        "listRecordings",
        "Recordings",
        "service",
        "Recordings, the newest first",
        {200: Answer("Those that fit.", RecordingList)},
        parameters=(*(Parameter(name, text, _QUERY[name]) for name, text in _TEXTS.items()), LIMIT, OFFSET),
        problems=("invalid_request",),
    ),
    Operation(
        "GET",
        "/v1/recordings/{recording_id}",
        "showRecording",
        "Recordings",
        "service",
        "One recording",
        {200: Answer("As it is now.", RecordingShown)},
        problems=("recording_not_found",),
    ),
    Operation(
        "GET",
        "/v1/recordings/{recording_id}/file",
        "downloadRecording",
        "Recordings",
        "service",
        "A recording's film",
        {
            200: Answer("The film; while it is recorded, what there is so far.", _FILM, "video/*"),
            206: Answer("The part that Range asks for.", _FILM, "video/*"),
            304: Answer("It has not changed."),
            412: Answer("It has changed."),
            416: Answer("It has no such part."),
        },
        problems=("recording_not_found", "recording_empty"),
    ),
    Operation(
        "DELETE",
        "/v1/recordings/{recording_id}",
        "deleteRecording",
        "Recordings",
        "service",
        "Delete a recording",
        {204: Answer("It is gone.")},
        problems=("recording_not_found", "recording_running"),
    ),
)
