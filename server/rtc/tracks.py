"""Tracks that hand a session's encoded packets to aiortc, which then only packetises them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet
from av.stream import Stream

from pipeline.session import SessionClosed, ViewerClosed

Pull = Callable[[], "Awaitable[Packet[Stream]]"]


class PacketTrack(MediaStreamTrack):
    """A track of kind "audio" or "video" whose packets are pulled one by one, when the sender is ready for them.

    aiortc first pulls when the handshake is done: whoever gives `pull` can join the session then, so that nothing has
    gathered meanwhile. source_ended: the session has ended, or closed the viewer's place.
    """

    def __init__(self, kind: str, pull: Pull) -> None:
        super().__init__()
        self.kind = kind
        self._pull = pull
        self.source_ended = False

    async def recv(self) -> Packet[Stream]:
        """The next packet. Raises MediaStreamError when the source has ended."""
        if self.readyState != "live":
            raise MediaStreamError
        try:
            return await self._pull()
        except (SessionClosed, ViewerClosed):
            self.source_ended = True
            self.stop()
            raise MediaStreamError from None
