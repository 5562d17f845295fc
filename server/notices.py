"""What the server tells of a session's own fate: its place in the line, that it ends, and why it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.events import Event


@dataclass(frozen=True, slots=True)
class QueuePosition(Event):
    """The session waits for a seat. position: 1 is the next; estimated_seconds: a guess, None: no idea."""

    type: ClassVar[str] = "queue_position"
    position: int
    estimated_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SessionReady(Event):
    """It waited, and has its seat now: picture and sound can be asked for."""

    type: ClassVar[str] = "session_ready"


@dataclass(frozen=True, slots=True)
class SessionEnding(Event):
    """It ends in so many seconds. reason: max_duration, or idle (unless somebody says something before)."""

    type: ClassVar[str] = "session_ending"
    seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionContinues(Event):
    """It does not end after all, whatever `session_ending` told for the same reason."""

    type: ClassVar[str] = "session_continues"
    reason: str


@dataclass(frozen=True, slots=True)
class ServerDraining(Event):
    """The server goes out of service: no new session starts here, this one goes on. seconds: until it is ended; None:
    it is not. A `session_continues` for draining takes it back.
    """

    type: ClassVar[str] = "server_draining"
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The last of its events. reason: deleted, max_duration, idle, timeout (everybody had left), never_joined,
    left_line (nobody was connected while it waited), not_started (an `error` before it says why), stopped_by_operator,
    draining, shutdown.
    """

    type: ClassVar[str] = "session_ended"
    reason: str
