"""The only place that touches private names of aiortc and aioice. tests/rtc/test_private.py fails when they change.

Everything is done on single instances, but for the length of the retransmission history, which is a module constant.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiortc.rtcrtpsender
import structlog
from aioice import Candidate, ice, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority
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

CONSENT_SECONDS = 2.0
"""Between two STUN checks of ours (RFC 7675 has 5 s with 30 s to expire; a vanished viewer is to be noticed sooner)."""

MAX_UNREAD = 512
"""Datagrams of one peer that wait to be read; before the handshake is done nobody reads them."""

MAX_STREAMS = 16
"""Of a peer's data channels together; it is told so, and one that opens more breaks the protocol."""

MAX_FRAGMENTS = 512
"""Pieces of unfinished messages that wait in all streams; a message of 64 kB has some 60."""


class PrivateNameChangedError(RuntimeError):
    """aiortc or aioice no longer has a name that this module relies on: another version is installed."""


class NoPortError(OSError):
    """No UDP port is free in the configured range."""


def _override(target: Any, name: str, value: Any) -> None:
    if not hasattr(target, name):
        raise PrivateNameChangedError(f"{type(target).__module__}.{type(target).__name__} has no {name}")
    setattr(target, name, value)


def lengthen_history() -> None:
    """Keep RTP_HISTORY_SIZE packets of every sender for retransmission. To be called before the first connection."""
    _override(aiortc.rtcrtpsender, "RTP_HISTORY_SIZE", RTP_HISTORY_SIZE)


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

    _override(sender, "_handle_rtcp_packet", handle_rtcp_packet)
    if key_wanted is not None:
        _override(sender, "_send_keyframe", key_wanted)


# -- ICE --------------------------------------------------------------------------------------------------------


def _connection(transport: RTCIceTransport) -> ice.Connection:
    connection = transport._connection
    if not isinstance(connection, ice.Connection):
        raise PrivateNameChangedError("RTCIceTransport._connection is no aioice Connection")
    return connection


def watch_ice(transport: RTCIceTransport, heard: Callable[[], None]) -> None:
    """Be told of the viewer's authenticated STUN; check consent every CONSENT_SECONDS; bound what waits unread.

    Replaces aioice's consent check, which gives an answer 0.5 s and a dead viewer 33 s. It ends nothing by itself:
    whoever is told decides.
    """
    connection = _connection(transport)
    check_incoming = connection.check_incoming
    data_received = connection.data_received

    def checked(message: stun.Message, address: tuple[str, int], protocol: ice.StunProtocol) -> None:
        heard()
        check_incoming(message, address, protocol)

    def received(data: bytes, component: int) -> None:
        if connection._queue.qsize() < MAX_UNREAD:
            data_received(data, component)

    async def query_consent() -> None:
        while True:
            await asyncio.sleep(CONSENT_SECONDS * (0.8 + 0.4 * random.random()))
            for pair in tuple(connection._nominated.values()):
                with contextlib.suppress(stun.TransactionError):  # no answer: not heard of, and that is all
                    await pair.protocol.request(
                        connection.build_request(pair, nominate=False),
                        pair.remote_addr,
                        integrity_key=str(connection.remote_password).encode(),
                        retransmissions=1,
                    )
                    heard()

    _override(connection, "check_incoming", checked)
    _override(connection, "data_received", received)
    _override(connection, "query_consent", query_consent)


def gather_with(
    transport: RTCIceTransport,
    *,
    addresses: Callable[[list[str]], list[str]],
    ports: Callable[[], Sequence[int]],
    advertise: Callable[[str], str],
    limit: float,
) -> None:
    """Gather candidates our way: on chosen addresses and ports, told to the viewer under chosen addresses.

    addresses: from the machine's own (no loopback among them) to those to bind. ports: to try in order, (0,) for any.
    advertise: the address to tell for a bound one. limit: seconds for STUN and TURN together; aioice takes 5.
    `setLocalDescription` then raises NoPortError when no port is free.
    """
    connection = _connection(transport)

    async def get_component_candidates(component: int, addresses: list[str]) -> list[Candidate]:
        protocols = []
        for address in choose(addresses):
            protocol = await _bind(connection, component, address, ports())
            if protocol is not None:
                connection._protocols.append(protocol)
                protocols.append(protocol)
        if not protocols:
            raise NoPortError(errno.EADDRINUSE, "no UDP port is free")
        candidates = [_told(protocol.local_candidate, advertise) for protocol in protocols]
        return candidates + await _ask_servers(connection, component, protocols, limit)

    choose = addresses
    _override(connection, "get_component_candidates", get_component_candidates)


async def _bind(
    connection: ice.Connection, component: int, address: str, ports: Sequence[int]
) -> ice.StunProtocol | None:
    """A socket on the first port that is free; None when none is, or the address has just gone."""
    loop = asyncio.get_running_loop()
    for port in ports:
        try:
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: ice.StunProtocol(connection), local_addr=(address, port)
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            log.warning("rtc_cannot_bind", address=address, error=str(error))
            return None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, turn.UDP_SOCKET_BUFFER_SIZE)
        host, bound = transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = _host_candidate(component, host, bound)
        return protocol
    return None


def _host_candidate(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


def _told(candidate: Candidate, advertise: Callable[[str], str]) -> Candidate:
    told = advertise(candidate.host)
    return candidate if told == candidate.host else _host_candidate(candidate.component, told, candidate.port)


def _reaches_out(host: str) -> bool:
    """Whether a STUN server can be asked from this address; aioice asks over IPv4 only."""
    address = ipaddress.ip_address(host)
    return address.version == 4 and not address.is_loopback


async def _ask_servers(
    connection: ice.Connection, component: int, protocols: list[ice.StunProtocol], limit: float
) -> list[Candidate]:
    """Server-reflexive and relayed candidates; a server that does not answer in time gives none."""
    jobs: list[Any] = []
    if connection.stun_server:
        jobs += [
            ice.server_reflexive_candidate(protocol, connection.stun_server)
            for protocol in protocols
            if _reaches_out(protocol.local_candidate.host)
        ]
    if connection.turn_server:
        jobs.append(
            ice.relayed_candidate(
                component=component,
                hide_related_address=False,
                protocol_factory=lambda: ice.StunProtocol(connection),
                turn_server=connection.turn_server,
                turn_username=connection.turn_username,
                turn_password=connection.turn_password,
                turn_ssl=connection.turn_ssl,
                turn_transport=connection.turn_transport,
            )
        )
    if not jobs:
        return []
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, timeout=limit)
    finally:
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    candidates = []
    for answer in answers:
        if isinstance(answer, BaseException):
            log.info("rtc_ice_server_failed", error=repr(answer))
            continue
        candidate, relay = answer
        candidates.append(candidate)
        if relay is not None:
            connection._protocols.append(relay)
    return candidates


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

    _override(sctp, "_handle_data", handle_data)
    _override(sctp, "_inbound_streams_max", MAX_STREAMS)


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

        _override(connection, name, owned)

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
            consent = _connection(transceiver.receiver.transport.transport)._query_consent_task
            if consent is not None and not consent.done():
                consent.cancel()
                await asyncio.wait([consent])
