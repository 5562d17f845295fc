"""One student's session: what is kept of it, who listens to it, and how it is told to the world."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.events import Event, OutputStarted, RecordingStarted
from pipeline.history import History
from pipeline.persona import Persona
from server.event_ring import EventRing

if TYPE_CHECKING:
    from pipeline.conversation import Conversation
    from pipeline.hearing import Hearing
    from pipeline.session import LiveSession

Listener = Callable[[Event], None]
"""Called on the event loop with each event of a session; must not block."""

Status = Literal["waiting", "starting", "ready", "active", "asleep"]
"""waiting: in the line; starting: its turn, and not yet there; active: somebody is connected."""

Ender = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Typed(Event):
    """What the student asked in writing. Who wrote it knows, so it is told to observers only (`Session.note`)."""

    type: ClassVar[str] = "typed"
    text: str


@dataclass(slots=True, eq=False)
class Session:
    """One student's session. `live`, `conversation` and `hearing` are None while it sleeps: nobody is there, and only
    this record is kept, with what was said.
    """

    id: str
    token: str = field(repr=False)  # as it was made; it expires
    avatar_id: str
    voice: str | None
    student_id: str
    tutor_id: str | None
    kb_id: str | None
    created_at: float  # time.time()
    token_expires: float = 0.0  # time.time()
    persona: Persona = field(default_factory=Persona)
    live: LiveSession | None = None
    conversation: Conversation | None = None
    hearing: Hearing | None = None
    history: History | None = None
    recording_id: str | None = None  # while it is recorded
    outputs: set[str] = field(default_factory=set)  # those that it is sent to now
    waited: bool = False  # it was in the waiting line
    ended: bool = False
    events: EventRing = field(default_factory=EventRing)
    listeners: set[Listener] = field(default_factory=set)
    observers: list[Listener] = field(default_factory=list)
    sockets: int = 0  # WebSockets that are open
    enders: dict[object, Ender] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def emit(self, event: Event) -> None:
        """Hand an event of the live part to everybody who listens (the WebSockets), and keep it for a while."""
        self.events.put(event)
        for observer in self.observers:
            observer(event)
        for listener in tuple(self.listeners):
            listener(event)

    def note(self, event: Event) -> None:
        """Something that the observers are to know of, and nobody else."""
        for observer in self.observers:
            observer(event)

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        self.listeners.add(listener)
        try:
            yield
        finally:
            self.listeners.discard(listener)


def iso(seconds: float) -> str:
    """RFC 3339, UTC, of a time.time()."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def recorded(session: Session) -> list[Event]:
    """What a student who comes now has to be told of recordings and outputs that run."""
    recording: list[Event] = [] if session.recording_id is None else [RecordingStarted(session.recording_id)]
    return [*recording, *(OutputStarted(output) for output in sorted(session.outputs))]
