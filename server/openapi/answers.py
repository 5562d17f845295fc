"""What answers hold, as models. They describe only: tests hold the real answers against them, no request is slowed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from avatars.record import AvatarRecord, Problem
from pipeline.stats import SessionStats
from server.listening import Availability
from server.rtc.peer import PeerStats


class Told(BaseModel):
    """Base of all answers: every member is described, and a member without `= None` is always there."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=False)


# -- problems -----------------------------------------------------------------------------------------------------


class FieldError(Told):
    field: str
    message: str
    type: str


class ProblemDetails(BaseModel):
    """RFC 9457. `code` is stable and for programs; `detail` is a sentence for people. errors: the fields that do not
    fit. incident: leads to the server's log. retry_after: seconds.
    """

    model_config = ConfigDict(extra="allow")

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldError] | None = None
    incident: str | None = None
    retry_after: int | None = None


# -- sessions -----------------------------------------------------------------------------------------------------


class IceServer(Told):
    urls: list[str]
    username: str | None = None
    credential: str | None = None


class Ice(Told):
    """For RTCPeerConnection's configuration. TURN credentials are made anew for each answer."""

    ice_servers: list[IceServer]
    ice_transport_policy: Literal["all", "relay"]


class _Session(Told):
    session_id: str
    avatar_id: str
    tutor_id: str | None
    student_id: str
    voice: str | None
    expires_at: datetime = Field(description="When it ends if nobody is there from now on.")


class SessionCreated(_Session, Ice):
    """engine_url: the WebSocket for the student's browser. engine_token: for everything under whep_url."""

    engine_url: str
    engine_token: str
    token_expires_at: datetime
    token_expires_in: int = Field(description="Seconds from now.")
    status: Literal["ready", "starting", "active"]
    whep_url: str
    rtvi_url: str
    mode: Literal["model", "demo"]
    listening: Availability
    recording: bool
    recording_id: str | None


class Place(Told):
    position: int = Field(ge=1, description="In the waiting line; 1 is the next.")
    estimated_seconds: int | None = Field(description="A guess at how long it will be; null: no idea.")


class SessionWaits(SessionCreated, Place):
    """The waiting line; its events tell when it is its turn."""

    status: Literal["waiting"]  # type: ignore[assignment]


class Renewed(Told):
    session_id: str
    engine_token: str
    token_expires_at: datetime
    token_expires_in: int = Field(description="Seconds from now.")
    engine_url: str
    rtvi_url: str


class SessionSummary(_Session):
    """viewers: connections that get its picture and sound. position and estimated_seconds: only while it waits."""

    status: Literal["waiting", "starting", "ready", "active", "asleep"]
    kb_id: str | None
    viewers: int
    recording: bool
    recording_id: str | None
    outputs: int
    created_at: datetime
    position: int | None = None
    estimated_seconds: int | None = None


class SessionShown(SessionSummary, Ice):
    """tutor_name: of the tutor's record, if it has one."""

    tutor_name: str | None
    listening: Availability


class SessionList(Told):
    total: int
    max_sessions: int
    waiting: int
    max_waiting: int
    sessions: list[SessionSummary]


class SessionFigures(SessionSummary):
    """live: null while it sleeps."""

    live: SessionStats | None
    connections: list[PeerStats]


class Said(Told):
    utterance_id: str


class Asked(Said):
    mode: Literal["model", "demo"]


class Interrupted(Told):
    generation: int = Field(description="Nothing older is sent from here on.")


class Voice(Told):
    name: str
    online: bool


class VoiceList(Told):
    default: str
    total: int
    voices: list[Voice]


class IceServers(Ice):
    """Both twice, once as RTCPeerConnection's configuration names them."""

    iceServers: list[IceServer]
    iceTransportPolicy: Literal["all", "relay"]


# -- avatars ------------------------------------------------------------------------------------------------------


class AvatarShown(AvatarRecord):
    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)

    avatar_id: str


class AvatarNamed(AvatarShown):
    """tutor_name: of the tutor that is linked with it, or that it was made for."""

    tutor_name: str | None


class AvatarAccepted(AvatarShown):
    """avatar_path: its folder on the server."""

    status: Literal["success"]
    avatar_path: str
    message: str


class AvatarList(Told):
    total: int
    avatars: list[str] = Field(description="The ids.")
    items: list[AvatarNamed]


# -- tutors -------------------------------------------------------------------------------------------------------


class TutorsAvatar(Told):
    """The avatar that sessions with a tutor get. missing: the linked one was deleted, or never came to be."""

    avatar_id: str
    state: Literal["preparing", "ready", "failed", "missing"]
    stage: str
    progress: float
    error: Problem | None


class TutorShown(Told):
    """tutor_id: the id once more, as sessions call it. What is null is as the server's settings say."""

    id: str
    tutor_id: str
    name: str
    description: str
    avatar_id: str | None
    avatar: TutorsAvatar | None
    voice: str | None
    language: str | None
    persona: str | None
    model: str | None
    created_at: datetime
    updated_at: datetime


class _Page(Told):
    total: int
    limit: int
    offset: int


class TutorList(_Page):
    items: list[TutorShown]


class RecordedSession(Told):
    """quality: counts over all of it, and running means in ms; null where its picture and sound never ran."""

    session_id: str
    status: Literal["running", "ended"]
    student_id: str | None = Field(description="Null: the student was deleted.")
    tutor_id: str | None
    avatar_id: str
    kb_id: str | None
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    end_reason: str | None
    turns: int
    quality: dict[str, float | None] | None


class RecordedSessions(_Page):
    items: list[RecordedSession]


class Turn(Told):
    session_id: str
    tutor_id: str | None
    who: Literal["student", "tutor"]
    text: str = Field(description="Of the tutor: what was heard.")
    interrupted: bool
    at: datetime


class Transcripts(_Page):
    items: list[Turn]
    retention_days: int = Field(description="0: none are kept.")


class StudentDeleted(Told):
    """turns, recordings: deleted. sessions: that name nobody any more. ended: that were running."""

    turns: int
    sessions: int
    ended: int
    recordings: int


# -- RTVI ---------------------------------------------------------------------------------------------------------


class RtviAnswer(Told):
    sdp: str
    type: Literal["answer"]
    pc_id: str


class RtviIce(Told):
    iceServers: list[IceServer]


class RtviStarted(Told):
    sessionId: str
    iceConfig: RtviIce


class RtviWaits(RtviStarted, Place):
    status: Literal["waiting"]


class Success(Told):
    status: Literal["success"]


# -- operating ----------------------------------------------------------------------------------------------------


class Alive(Told):
    status: Literal["ok"]


class Check(Told):
    ok: bool
    detail: str | None = None


class Readiness(Told):
    status: Literal["ready", "not_ready"]
    checks: dict[str, Check]


class Seats(Told):
    active: int
    max: int
    total: int
    waiting: int


class Renderer(Told):
    """MuseTalk's worker."""

    status: str
    device: str | None
    mouths_per_second: float | None
    capacity: int | None
    restarts: int
    drawn: int
    skipped: int
    problem: str | None


class Health(Told):
    status: Literal["ok"]
    version: str
    engine: str
    renderer: Renderer | None = None
    voice: str
    mode: Literal["model", "demo"]
    sessions: Seats
    viewers: int
    uptime_seconds: float
