"""Every viewer's connection: counted, found, watched, and closed by the one who owns them all."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from server.log_context import of_nobody
from server.rtc import private
from server.rtc.addresses import Place, to_try
from server.rtc.data_channel import ChannelSink, DataChannel
from server.rtc.media_port import MediaPorts
from server.rtc.microphone import SoundSink
from server.rtc.offer import Offer
from server.rtc.peer import Peer, PeerStats
from server.rtc.settings import RtcSettings
from server.rtc.source import MediaSource

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 5.0
FIGURES_SECONDS = 0.5  # for a connection that ends to tell what it sent


class TooManyPeersError(Exception):
    """No room for a further viewer. str() is a sentence; retry_after in seconds."""

    retry_after = 10.0


@dataclass(slots=True, eq=False)
class Entry:
    """A viewer's connection and where it belongs. tag: the ETag of its ICE session."""

    id: str
    session_id: str
    peer: Peer
    tag: str
    holding: contextlib.ExitStack
    closing: asyncio.Task[None] | None = None


class PeerRegistry:
    """Owns every Peer, the sockets that they share and the one task that looks after them. Use on one event loop."""

    def __init__(
        self,
        settings: RtcSettings,
        *,
        first_picture: Callable[[str, float], None] = lambda session_id, seconds: None,
        left: Callable[[str, PeerStats | None], None] = lambda entry_id, stats: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """first_picture: told of each viewer's, with the session and the seconds since its offer. left: told of each
        connection that ended, with its figures if they could be had.
        """
        private.lengthen_history()
        self.settings = settings
        self.ports = MediaPorts(to_try(settings))
        self._first_picture = first_picture
        self._left = left
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    async def connect(
        self,
        session_id: str,
        source: MediaSource,
        codec: str,
        offer: str | Offer,
        *,
        place: Place = "outside",
        microphone: Callable[[], SoundSink] | None = None,
        talk: Callable[[DataChannel], ChannelSink] | None = None,
        presence: Callable[[Entry], AbstractContextManager[None]] | None = None,
    ) -> tuple[Entry, str]:
        """Answer an offer: the new entry and the SDP answer.

        microphone: gives the place for the viewer's sound, where the offer (checked with `listen`) has one.
        talk: gives who talks in the viewer's data channel, where the offer (checked with `data`) has one.
        presence: entered now and left when the connection has gone (keeps the session awake). Raises BadOffer,
        TooManyPeersError, private_ice.NoPortError and NoRelayError.
        """
        self._check_room(session_id)
        entry_id = secrets.token_urlsafe(16)
        peer = Peer(
            source,
            codec,
            self.settings,
            self.ports,
            place=place,
            microphone=microphone,
            talk=talk,
            ended=lambda: self._ended(entry_id),
            first_picture=lambda seconds: self._first_picture(session_id, seconds),
            clock=self._clock,
        )
        entry = Entry(entry_id, session_id, peer, f'"{secrets.token_hex(8)}"', contextlib.ExitStack())
        self._entries[entry_id] = entry
        try:
            if presence is not None:
                entry.holding.enter_context(presence(entry))
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await peer.answer(offer)
        except BaseException:
            self._dismiss(entry_id, "refused")
            raise
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_after(), name="peers-watch", context=of_nobody())
        log.info("peer_answered", session=session_id, peer=entry_id, viewers=self.count(session_id))
        return entry, answer

    def get(self, session_id: str, peer_id: str) -> Entry | None:
        """The connection, unless it has gone or is going."""
        entry = self._entries.get(peer_id)
        return entry if entry is not None and entry.session_id == session_id and entry.closing is None else None

    def of(self, session_id: str) -> list[Entry]:
        return [e for e in self._entries.values() if e.session_id == session_id and e.closing is None]

    def count(self, session_id: str | None = None) -> int:
        """Connections of a session, or of all."""
        return len(self._entries) if session_id is None else len(self.of(session_id))

    def microphones(self, session_id: str) -> int:
        """Connections of a session that may send sound."""
        return sum(e.peer.offer is not None and e.peer.offer.microphone for e in self.of(session_id))

    async def close_peer(self, session_id: str, peer_id: str, reason: str = "left") -> bool:
        """Close one connection and wait until it is gone. False: there is none."""
        entry = self.get(session_id, peer_id)
        if entry is None:
            return False
        await self._wait([self._dismiss(entry.id, reason)])
        return True

    async def close_session(self, session_id: str, reason: str = "session_ended") -> None:
        """Close every connection of a session and wait until they are gone."""
        await self._wait([self._dismiss(e.id, reason) for e in self._entries.values() if e.session_id == session_id])

    async def close(self) -> None:
        """Close everything; no connection can be made from here on."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._wait([self._dismiss(entry_id, "shutdown") for entry_id in self._entries])

    # -- inside -------------------------------------------------------------------------------------------------

    def _check_room(self, session_id: str) -> None:
        if self._closed:
            raise TooManyPeersError("The server is shutting down.")
        if self.count(session_id) >= self.settings.max_peers_per_session:
            raise TooManyPeersError(
                f"This session has its {self.settings.max_peers_per_session} viewers already. Try again later."
            )
        if self.count() >= self.settings.max_peers:
            raise TooManyPeersError("The server has no room for a further viewer. Try again later.")

    def _ended(self, peer_id: str) -> None:
        self._dismiss(peer_id)

    def _dismiss(self, peer_id: str, reason: str = "closed") -> asyncio.Task[None] | None:
        entry = self._entries.get(peer_id)
        if entry is None:
            return None
        if entry.closing is None:
            entry.closing = asyncio.create_task(self._close_entry(entry, reason), name="peer-dismiss")
        return entry.closing

    async def _close_entry(self, entry: Entry, reason: str) -> None:
        stats: PeerStats | None = None
        try:
            async with asyncio.timeout(FIGURES_SECONDS):
                stats = await entry.peer.stats()
        except Exception:
            log.exception("peer_figures_failed", session=entry.session_id)
        try:
            await entry.peer.close(reason)
        finally:
            self._left(entry.id, stats)
            self._entries.pop(entry.id, None)
            entry.holding.close()
            log.info("peer_gone", session=entry.session_id, peer=entry.id, reason=entry.peer.reason)

    async def _wait(self, tasks: list[asyncio.Task[None] | None]) -> None:
        going = [task for task in tasks if task is not None]
        if going:
            await asyncio.wait(going)

    async def _look_after(self) -> None:
        """Runs while there are connections."""
        while self._entries:
            await asyncio.sleep(LOOK_SECONDS)
            for entry in tuple(self._entries.values()):
                entry.peer.look()
