"""The operations on what is kept of sessions."""

from __future__ import annotations

from server.openapi import answers
from server.openapi.operation import Answer, Operation, Parameter, or_empty
from server.openapi.tutors import LIMIT, OFFSET

_TEXT = {"type": "string"}
_MOMENT = or_empty({"type": "string", "format": "date-time"})
_SESSION = Parameter("session_id", "Of this session only.", _TEXT)
_TUTOR = Parameter("tutor_id", "With this tutor only.", _TEXT)
_SINCE = Parameter("since", "Sessions that began then or later.", _MOMENT)
_UNTIL = Parameter("until", "Sessions that began before then.", _MOMENT)
_PROBLEMS = ("invalid_request", "records_unavailable")

OPERATIONS = (
    Operation(
        "GET",
        "/v1/records/sessions",
        "listRecordedSessions",
        "Tutors and records",
        "service",
        "Sessions that run or have run, the newest first",
        {200: Answer("A page of them.", answers.RecordedSessions)},
        parameters=(
            Parameter("student_id", "Of this student only.", _TEXT),
            _TUTOR,
            _SESSION,
            _SINCE,
            _UNTIL,
            LIMIT,
            OFFSET,
        ),
        problems=_PROBLEMS,
    ),
    Operation(
        "GET",
        "/v1/students/{student_id}/transcripts",
        "listTranscripts",
        "Tutors and records",
        "service",
        "What was said in a student's sessions, the oldest first",
        {200: Answer("A page of it; empty for a student who said nothing, or is not known.", answers.Transcripts)},
        parameters=(_SESSION, _TUTOR, _SINCE, _UNTIL, LIMIT, OFFSET),
        problems=_PROBLEMS,
        text="Kept for records.retention_days. Of the tutor's words those that were heard.",
    ),
    Operation(
        "DELETE",
        "/v1/students/{student_id}",
        "deleteStudent",
        "Tutors and records",
        "service",
        "Delete all that a student said and heard",
        {200: Answer("It has gone; none is there for a student who is not known.", answers.StudentDeleted)},
        problems=("records_unavailable",),
        text="Sessions of the student that run are ended. Figures of sessions stay, without the student's id.",
    ),
)
