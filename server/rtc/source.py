"""What a viewer's connection needs of a live session: encoded packets, made once, for any number of viewers."""

from __future__ import annotations

from typing import Protocol

from av.packet import Packet
from av.stream import Stream


class Viewer(Protocol):
    """One viewer's place in a session; pipeline.fanout.Viewer is the real one. After `close` the awaits raise
    ViewerClosed.
    """

    async def video(self) -> Packet[Stream]:
        """The next picture: H.264 Annex B or VP8, with pts and time_base 1/90000; the first is a keyframe."""

    async def audio(self) -> Packet[Stream]:
        """The next 20 ms of Opus at 48 kHz, with pts and time_base 1/48000."""

    def request_key(self) -> None:
        """The viewer lost the picture. The session limits how often it follows."""

    def report_estimate(self, bitrate: int) -> None:
        """What the viewer's browser says its network takes, sound included, bit/s (REMB): about five a second.

        It never says much more than what it is sent; the session tells a full network from a quiet picture.
        """

    def close(self) -> None: ...


class MediaSource(Protocol):
    """A live session, as far as WebRTC knows it."""

    def join(self) -> Viewer:
        """A place for one more viewer. Raises SessionClosed."""
