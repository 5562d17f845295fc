"""What operators see and do: /v1/admin/. The models describe the answers, as in server.openapi.answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from server.admin.drain import Draining
from server.admin.storage import Prune
from server.limits import Cause
from server.listening import Availability
from server.openapi.answers import AvatarShown, Renderer, SessionSummary, Told
from server.openapi.operation import JSON, Answer, Body, Operation, Parameter, json_body


class OperatorFigures(Told):
    """fps: pictures a second, at the last look. *_ms: running means. bitrates in bit/s; the worst viewer's rtt_ms and
    loss (0..1) are null while nobody is connected.
    """

    fps: float | None
    pictures: int
    pictures_skipped: int
    mouths: int
    mouths_late: int
    mouths_failed: int
    stalls: int
    underruns: int
    overflows: int
    draw_ms: float | None
    encode_ms: float | None
    mouth_ms: float | None
    release_late_ms: float | None
    queue_ms: int
    bitrate: int
    sent_bitrate: int
    rtt_ms: float | None
    loss: float | None
    say_to_sound_ms: float | None = Field(description="Of the newest turn that was heard.")


class OperatorSession(SessionSummary):
    """tutor_name: of the tutor's record, if it has one. doing: what the tutor does now. picture: whether there is a
    thumbnail. figures: null while it sleeps.
    """

    tutor_name: str | None
    seconds: float
    doing: str | None
    picture: bool
    figures: OperatorFigures | None


class OperatorSessions(Told):
    total: int
    sessions: list[OperatorSession]


class Bar(Told):
    """limit: null where there is none."""

    used: float
    limit: float | None


class Capacity(Told):
    """cpu, loop (the event loop): percent. memory, disk: bytes. refused: why a session that came now would be; null: it
    could start. limits: the settings of sessions.
    """

    sessions: Bar
    waiting: Bar
    records: Bar
    speaking: Bar
    viewers: Bar
    cpu: Bar
    loop: Bar
    memory: Bar
    disk: Bar
    refused: Cause | None
    limits: dict[str, Any]


class Engine(Told):
    """code, why: what is in its way, if anything is (off, cannot_run, restart, starting, down, broken, closed).
    cause: of cannot_run.
    """

    name: str
    chosen: bool
    available: bool
    code: str | None
    cause: Literal["no_base", "no_folder", "not_installed", "incomplete"] | None
    why: str | None
    figures: Renderer | None


class Engines(Told):
    total: int
    engines: list[Engine]


class OperatorVoice(Told):
    name: str
    online: bool
    default: bool
    available: bool
    again_in: float | None
    why: str | None


class Model(Told):
    mode: Literal["model", "demo"]
    name: str | None
    why: str | None


class OperatorVoices(Told):
    default: str
    voices: list[OperatorVoice]
    listening: Availability
    model: Model


class Builds(Told):
    """failed: within a week. ready, total: of all avatars."""

    parallel: int
    running: list[AvatarShown]
    waiting: list[AvatarShown]
    failed: list[AvatarShown]
    ready: int
    total: int


class Disk(Told):
    path: str
    total_bytes: int
    free_bytes: int


class StoredAvatar(Told):
    """cache_bytes: of `bytes`, decoded frames that are made again when they are needed. sessions: that are on it."""

    avatar_id: str
    tutor_id: str
    state: Literal["preparing", "ready", "failed"]
    bytes: int
    cache_bytes: int
    created_at: datetime
    last_used_at: datetime | None
    sessions: int
    sample: bool


class StoredFilms(Told):
    total: int
    bytes: int
    limit_bytes: int


class Storage(Told):
    disk: Disk
    bytes: int
    cache_bytes: int
    cache_limit_bytes: int
    recordings: StoredFilms
    total: int
    avatars: list[StoredAvatar]


class PrunedAvatar(Told):
    avatar_id: str
    bytes: int
    last_used_at: datetime | None
    created_at: datetime


class PruneResult(Told):
    """avatars, total, bytes: what was (with dry_run: would be) deleted. kept: how many stay, by reason. failed: what
    could not be deleted, with the code that says why.
    """

    dry_run: bool
    unused_days: float
    total: int
    bytes: int
    avatars: list[PrunedAvatar]
    kept: dict[str, int]
    failed: dict[str, str]


class DrainShown(Told):
    """since: null while it does not drain. seconds_left: until the sessions that run are ended; null: they end as they
    like. running: sessions that are awake. stopping: the process ends with the drain.
    """

    draining: bool
    since: datetime | None
    seconds_left: int | None
    running: int
    stopping: bool


class Configuration(Told):
    """settings: {group: {key: value}}, secrets masked. changed: "group.key" of what differs from its default."""

    settings: dict[str, dict[str, Any]]
    changed: list[str]


class TurnShown(Told):
    """*_ms: since its beginning; null: not reached. waited_ms: until those before it had ended. spoken_ms: of it that
    were sent.
    """

    at: datetime
    session_id: str
    avatar_id: str
    utterance_id: str
    kind: Literal["typed", "spoken", "said", "played"]
    outcome: str
    characters: int
    waited_ms: float
    words_ms: float | None
    model_ms: float | None
    sentence_ms: float | None
    voice_ms: float | None
    sound_ms: float | None
    mouth_ms: float | None
    total_ms: float
    spoken_ms: float


class Turns(Told):
    total: int
    turns: list[TurnShown]


def _get(path: str, name: str, summary: str, text: str, kind: Any, problems: tuple[str, ...] = ()) -> Operation:
    return Operation(
        "GET",
        f"/v1/admin/{path}",
        name,
        "Administration",
        "admin",
        summary,
        {200: Answer(text, kind)},
        problems=problems,
    )


_SESSION = ("session_not_found",)

OPERATIONS = (
    _get("sessions", "operatorSessions", "Every session with its figures", "All of them.", OperatorSessions),
    _get("sessions/{session_id}", "operatorSession", "One with its figures", "It.", OperatorSession, _SESSION),
    Operation(
        "DELETE",
        "/v1/admin/sessions/{session_id}",
        "stopSession",
        "Administration",
        "admin",
        "Stop a session",
        {204: Answer("It has ended; its student was told.")},
        problems=_SESSION,
    ),
    Operation(
        "GET",
        "/v1/admin/sessions/{session_id}/thumbnail.jpg",
        "thumbnail",
        "Administration",
        "admin",
        "A session's present picture, small",
        {200: Answer("A new one once a second at most.", {"type": "string", "format": "binary"}, "image/jpeg")},
        problems=(*_SESSION, "no_picture"),
    ),
    _get("capacity", "capacity", "How full the server is, and the limits that are set", "Used and limit.", Capacity),
    _get("engines", "engines", "The lip-sync engines, and why one is off", "Each engine.", Engines),
    _get("voices", "operatorVoices", "The voices, and why one is off", "Each voice, ears and model.", OperatorVoices),
    _get("avatars/builds", "builds", "Avatars that are prepared, wait for it, or failed", "Builds.", Builds),
    Operation(
        "POST",
        "/v1/admin/avatars/prune",
        "prune",
        "Administration",
        "admin",
        "Delete avatars that nobody has used for long",
        {200: Answer("What was deleted, or would be.", PruneResult)},
        json_body(Prune),
        text="Without dry_run: false it only names them. One that is in use is never deleted. include_linked takes "
        "also the avatars of tutors, and those made for a tutor whom this database does not know.",
    ),
    Operation(
        "POST",
        "/v1/admin/drain",
        "drain",
        "Administration",
        "admin",
        "Take the server out of service",
        {200: Answer("New sessions get 503 draining; those that run are told.", DrainShown)},
        Body({JSON: Draining}, required=False, example={"seconds": 600}),
        text="Done again it sets another end.",
    ),
    _get("drain", "drainState", "Is it going out of service?", "The drain's state.", DrainShown),
    Operation(
        "DELETE",
        "/v1/admin/drain",
        "takeDrainBack",
        "Administration",
        "admin",
        "Put the server back into service",
        {200: Answer("New sessions are taken again.", DrainShown)},
        problems=("stopping",),
    ),
    _get("storage", "storage", "What avatars take on disk, and when they were last used", "The disk.", Storage),
    Operation(
        "GET",
        "/v1/admin/turns",
        "turns",
        "Administration",
        "admin",
        "The newest turns, with when each stage was reached",
        {200: Answer("The newest first.", Turns)},
        parameters=(
            Parameter("limit", "How many, 50 if nothing is said.", {"type": "integer", "minimum": 1, "maximum": 200}),
            Parameter("session_id", "Of one session only.", {"type": "string"}),
        ),
    ),
    _get("config", "configuration", "The configuration in force, without secrets", "Every setting.", Configuration),
)
