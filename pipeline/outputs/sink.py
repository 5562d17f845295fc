"""What a session's packets can be given to, and what can be said of them."""

from __future__ import annotations

from typing import Literal, Protocol

from av.packet import Packet
from av.stream import Stream

Mark = Literal["cut", "lost"]
"""cut: what follows is of another clock, the session slept meanwhile. lost: packets were lost here."""

SILENCE = b"\xf8\xff\xfe"
"""20 ms of silence in mono, as an Opus packet (RFC 6716: full band CELT, an empty frame)."""


class Intake(Protocol):
    """Takes packets on the event loop and never waits; pipeline.outputs.writer.Writer is one."""

    @property
    def roomy(self) -> bool:
        """Whether no more than half of what may wait does."""

    def put(self, packet: Packet[Stream], *, sound: bool) -> bool:
        """False: too much waits already, or it failed; the packet is not taken."""

    def mark(self, mark: Mark) -> None:
        """Taken whether there is room or not; the same one twice counts once."""


class Sink(Protocol):
    """A file or another server. Called on a thread of its own, in order, where it may block for a while."""

    def packet(self, packet: Packet[Stream], *, sound: bool) -> None:
        """The next picture or 20 ms of sound, as viewers get them. The packet belongs to all of them: it is copied."""

    def mark(self, mark: Mark) -> None:
        """What happened between the packets."""

    def close(self) -> None:
        """The end; also after a failure. It may raise, what was written before stays."""
