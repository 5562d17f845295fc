"""How many sessions there may be and how long: the limits, the room that was measured, and what follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["seats", "engine", "cpu", "loop", "late", "records", "line", "draining"]
"""Why a session could not start. seats: every one is taken; engine: the renderer can draw no more mouths; cpu: the
machine is as busy as it may be; loop: this process is, whatever cores are free; late: running sessions' pictures leave
late; records: too many sleep; line: the waiting line is full; draining: the server is being stopped.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """max_sessions: awake at once. max_records: sessions remembered at all, waiting and sleeping ones included.
    max_waiting: in the line. speaking_share: of the awake sessions, how many are thought to speak at once (0..1).

    All times in seconds. first: from creation until somebody connects; also how long a place in the line is kept for
    who is not connected. leave: how long an empty session stays awake. timeout: how long a session with nobody
    connected is kept (asleep) for its student to come back. max_seconds: the longest that a session lasts, from its
    first being awake; idle: the longest that nobody asks, says or speaks in an awake one; 0: no such limit.
    max_cpu: percent of the machine; 100: any. max_loop: percent of the event loop's time; 100: any. max_late: how late
    running sessions' pictures may leave; 0: any.
    """

    max_sessions: int
    first: float
    leave: float
    timeout: float
    max_records: int = 1024
    max_waiting: int = 32
    max_seconds: float = 0.0
    idle: float = 0.0
    max_cpu: float = 100.0
    max_loop: float = 100.0
    max_late: float = 0.0
    speaking_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """No room now. reason: half a sentence for people. retry_after: seconds until there may be room, a guess."""

    reason: str
    retry_after: float
    cause: Cause = "seats"


@dataclass(frozen=True, slots=True)
class Room:
    """What was measured. capacity: how many sessions the lip-sync engine can let speak at once, None: not known.
    speaking: how many do now. overload: why the machine bears no more now, None: it does.
    """

    capacity: int | None = None
    speaking: int = 0
    overload: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be done now. sleep: free everything heavy, keep the record; end: forget the session; warn: tell that
    it ends at `at`; relent: tell that it goes on after all, whatever was told.
    """

    session_id: str
    action: Literal["sleep", "end", "warn", "relent"]
    reason: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line. position: 1 is the next. estimate: seconds until it is its turn, None: no idea."""

    position: int
    estimate: float | None


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How full the server is. speaking: sessions whose tutor speaks now; capacity: how many may, None: not measured.
    cpu, loop (the event loop): percent, late: seconds that pictures leave late, all over the last seconds. refused: why
    a session that came now would be; None: it could start.
    """

    awake: int
    waiting: int
    speaking: int
    capacity: int | None
    cpu: float
    loop: float
    late: float
    refused: Cause | None
