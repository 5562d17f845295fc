"""What is private of aiortc and is touched; private_ice.py has the same of aioice. Nothing else touches such names.

tests/rtc/test_private.py fails when they change. Everything is done on single instances, but for the length of the
retransmission history, which is a module constant.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import aiortc.rtcrtpsender
import structlog
from aioice import ice
from aiortc import RTCIceTransport, RTCPeerConnection, RTCRtpSender, RTCSctpTransport
from aiortc.exceptions import InvalidStateError
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    unpack_remb_fci,
)

log = structlog.get_logger(__name__)

RTP_HISTORY_SIZE = 1024
"""Packets kept for retransmission: four seconds at 2.5 Mbit/s. aiortc keeps 128, half a second."""

MAX_STREAMS = 16
"""Of a peer's data channels together; it is told so, and one that opens more breaks the protocol."""

MAX_FRAGMENTS = 512
"""Pieces of unfinished messages that wait in all streams; a message of 64 kB has some 60."""


class PrivateNameChangedError(RuntimeError):
    """aiortc or aioice no longer has a name that this module relies on: another version is installed."""


def override(target: Any, name: str, value: Any) -> None:
    """Set an attribute that must be there already. Raises PrivateNameChangedError."""
    if not hasattr(target, name):
        raise PrivateNameChangedError(f"{type(target).__module__}.{type(target).__name__} has no {name}")
    setattr(target, name, value)


def lengthen_history() -> None:
    """Keep RTP_HISTORY_SIZE packets of every sender for retransmission. To be called before the first connection."""
    override(aiortc.rtcrtpsender, "RTP_HISTORY_SIZE", RTP_HISTORY_SIZE)


# -- RTCP of a sender -------------------------------------------------------------------------------------------


def watch_feedback(
    sender: RTCRtpSender,
    *,
    heard: Callable[[], None],
    key_wanted: Callable[[], None] | None = None,
    estimate: Callable[[int], None] | None = None,
) -> None:
    """Be told of the viewer's RTCP for one sender; each packet was authenticated by SRTP.

    heard: any packet. key_wanted: a PLI or FIR. estimate: REMB, bit/s for the whole connection.
    aiortc only sets a flag for a PLI and looks at REMB only in its own encoders: with packets neither has an effect.
    """
    handle: Callable[[AnyRtcpPacket], Awaitable[None]] = sender._handle_rtcp_packet

    async def handle_rtcp_packet(packet: AnyRtcpPacket) -> None:
        heard()
        if estimate is not None and isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            with contextlib.suppress(ValueError):  # an APP packet that is not REMB
                estimate(unpack_remb_fci(packet.fci)[0])
        await handle(packet)

    override(sender, "_handle_rtcp_packet", handle_rtcp_packet)
    if key_wanted is not None:
        override(sender, "_send_keyframe", key_wanted)


def connection_of(transport: RTCIceTransport) -> ice.Connection:
    """aioice's part of a transport. Raises PrivateNameChangedError."""
    connection = transport._connection
    if not isinstance(connection, ice.Connection):
        raise PrivateNameChangedError("RTCIceTransport._connection is no aioice Connection")
    return connection


# -- data channels ------------------------------------------------------------------------------------------------


def bound_data(sctp: RTCSctpTransport, broken: Callable[[], None]) -> None:
    """Call `broken` when a peer makes this side keep more than MAX_STREAMS and MAX_FRAGMENTS, or sends nonsense.

    aiortc announces a window of 1 MB and keeps whatever comes, in window or not, for messages that need never end;
    text that is not UTF-8, or a stream opened twice, it raises through the task that reads everything of the peer.
    """
    handle: Callable[[bytes], Awaitable[None]] = sctp._handle_data

    async def handle_data(data: bytes) -> None:
        try:
            await handle(data)
        except (AssertionError, LookupError, ValueError, struct.error) as error:
            log.info("rtc_bad_data", error=repr(error))
            broken()
            return
        kept = sum(len(stream.reassembly) for stream in sctp._inbound_streams.values())
        if len(sctp._inbound_streams) > MAX_STREAMS or max(kept, len(sctp._sack_misordered)) > MAX_FRAGMENTS:
            broken()

    override(sctp, "_handle_data", handle_data)
    override(sctp, "_inbound_streams_max", MAX_STREAMS)


# -- the connection's own tasks ---------------------------------------------------------------------------------


class OwnedConnect:
    """aiortc starts the handshake in a task that nobody holds; this holds it, so that closing ends it too."""

    def __init__(self, connection: RTCPeerConnection) -> None:
        self._pc = connection
        self._tasks: set[asyncio.Task[Any]] = set()
        name = "_RTCPeerConnection__connect"
        if not hasattr(connection, name):
            raise PrivateNameChangedError(f"RTCPeerConnection has no {name}")
        connect: Callable[[], Awaitable[None]] = getattr(connection, name)

        async def owned() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await connect()
            except InvalidStateError:
                if connection.signalingState != "closed":
                    raise
                log.debug("rtc_closed_while_connecting")
            finally:
                self._tasks.discard(task)

        override(connection, name, owned)

    async def close(self) -> None:
        """Close the connection, end its handshake if it still runs, and stop what that may have started meanwhile."""
        running = set(self._tasks)
        await self._pc.close()
        running |= self._tasks
        for task in running:
            task.cancel()
        if running:  # also what has ended by itself meanwhile: it may have started senders that were stopped before
            await asyncio.wait(running)
            for transceiver in self._pc.getTransceivers():
                await transceiver.stop()
        for transceiver in self._pc.getTransceivers():
            # aioice starts the consent check although the connection was closed while it connected.
            consent = connection_of(transceiver.receiver.transport.transport)._query_consent_task
            if consent is not None and not consent.done():
                consent.cancel()
                await asyncio.wait([consent])
