"""The operations on outputs. The models describe the answers, as in server.openapi.answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from server.openapi.answers import Told
from server.openapi.operation import Answer, Header, Operation, json_body
from server.recorder.output import State
from server.recorder.outputs_api import NewOutput
from server.recorder.targets import Kind


class OutputError(Told):
    code: str
    message: str
    at: datetime


class OutputShown(Told):
    """url: without what may be a key. waiting: until it tries again; failed: it has given up."""

    output_id: str
    type: Kind
    url: str
    state: State
    attempts: int
    created_at: datetime
    connected_at: datetime | None = Field(description="Null while it is not live.")
    last_error: OutputError | None


class OutputList(Told):
    total: int
    outputs: list[OutputShown]


_PATH = "/v1/sessions/{session_id}/outputs"

OPERATIONS = (
    Operation(
        "POST",
        _PATH,
        "startOutput",
        "Outputs",
        "service",
        "Send a session on to an RTMP or WHIP server",
        {
            201: Answer(
                "It connects by itself, again and again; see its state.",
                OutputShown,
                headers=(Header("Location", "Its address."),),
            )
        },
        json_body(NewOutput),
        problems=(
            "session_not_found",
            "outputs_off",
            "output_forbidden",
            "codec_unsupported",
            "too_many_outputs",
            "at_capacity",
            "not_found",
            "not_ready",
            "damaged",
            "disk_full",
        ),
        text="Only to hosts that the server's operator has named (outputs.allowed_hosts).",
    ),
    Operation(
        "GET",
        _PATH,
        "listOutputs",
        "Outputs",
        "service",
        "A session's outputs",
        {200: Answer("Those that were not deleted, failed ones included.", OutputList)},
        problems=("session_not_found",),
    ),
    Operation(
        "GET",
        _PATH + "/{output_id}",
        "showOutput",
        "Outputs",
        "service",
        "One output",
        {200: Answer("As it is now.", OutputShown)},
        problems=("session_not_found", "output_not_found"),
    ),
    Operation(
        "DELETE",
        _PATH + "/{output_id}",
        "stopOutput",
        "Outputs",
        "service",
        "Stop an output",
        {204: Answer("It has said goodbye to the server and is gone.")},
        problems=("session_not_found", "output_not_found"),
    ),
)
