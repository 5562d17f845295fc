"""Whether a viewer is still there: pure, `now` (monotonic seconds) comes in."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["never_connected", "vanished"]

STALL_SECONDS = 2.0
"""Two looks further apart than this mean that this process stood still, not the viewer."""


class Heartbeat:
    """A viewer must connect within one limit, and from then on be heard of within the other.

    Any authenticated word counts: an RTCP packet, a STUN check, the answer to one of ours. Chromium sends RTCP every
    second and answers STUN from its network thread, also for a paused or hidden page. Time in which this process
    itself stood still is not held against the viewer: what the viewer sent meanwhile may not have been read yet.
    """

    def __init__(self, now: float, *, connect: float, silence: float) -> None:
        self._connect = connect
        self._silence = silence
        self._since = now
        self._looked = now
        self._connected = False

    def connected(self, now: float) -> None:
        """The handshake is done."""
        self._connected = True
        self._since = now

    def heard(self, now: float) -> None:
        """A word of the viewer came in. Before the handshake is done it changes nothing."""
        if self._connected:
            self._since = now

    def silent_for(self, now: float) -> float:
        """Seconds since the viewer was heard of (since the answer, as long as it has not connected)."""
        return now - self._since

    def look(self, now: float) -> Verdict | None:
        """Why the viewer has to go, if it has to. To be called about twice a second."""
        gap = now - self._looked
        self._looked = now
        if gap > STALL_SECONDS:
            self._since = min(now, self._since + gap)
        if self._connected:
            return "vanished" if now - self._since >= self._silence else None
        return "never_connected" if now - self._since >= self._connect else None
