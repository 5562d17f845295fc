"""What is private of aioice and is touched: checks and candidates. tests/rtc/test_private.py fails when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aioice import Candidate, ice, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCIceTransport

from server.rtc.ice_servers import explain
from server.rtc.private import connection_of, override

log = structlog.get_logger(__name__)

CONSENT_SECONDS = 2.0
"""Between two STUN checks of ours (RFC 7675 has 5 s with 30 s to expire; a vanished viewer is to be noticed sooner)."""

MAX_UNREAD = 512
"""Datagrams of one peer that wait to be read; before the handshake is done nobody reads them."""


class NoPortError(OSError):
    """No UDP port is free in the configured range."""


class NoRelayError(Exception):
    """Only relayed addresses may be told, and the TURN server gave none. str(): why, without a full stop."""


def watch_ice(transport: RTCIceTransport, heard: Callable[[], None]) -> None:
    """Be told of the viewer's authenticated STUN; check consent every CONSENT_SECONDS; bound what waits unread.

    Replaces aioice's consent check, which gives an answer 0.5 s and a dead viewer 33 s. It ends nothing by itself:
    whoever is told decides.
    """
    connection = connection_of(transport)
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

    override(connection, "check_incoming", checked)
    override(connection, "data_received", received)
    override(connection, "query_consent", query_consent)


def gather_with(
    transport: RTCIceTransport,
    *,
    addresses: Callable[[list[str]], list[str]],
    ports: Callable[[], Sequence[int]],
    advertise: Callable[[str], list[str]],
    relay_only: bool,
    limit: float,
) -> None:
    """Gather candidates our way: on chosen addresses and ports, told to the viewer under chosen addresses.

    addresses: from the machine's own (no loopback among them) to those to bind. ports: to try in order, (0,) for any.
    advertise: the addresses to tell for a bound one. relay_only: bind nothing, tell what the TURN server gives alone.
    limit: seconds for STUN and TURN together; aioice takes 5.
    `setLocalDescription` then raises NoPortError when no port is free, NoRelayError when there is no relay.
    """
    connection = connection_of(transport)

    async def get_component_candidates(component: int, addresses: list[str]) -> list[Candidate]:
        if relay_only:
            return await _relay(connection, component, limit)
        protocols = []
        for address in choose(addresses):
            protocol = await _bind(connection, component, address, ports())
            if protocol is not None:
                connection._protocols.append(protocol)
                protocols.append(protocol)
        if not protocols:
            raise NoPortError(errno.EADDRINUSE, "no UDP port is free")
        told = {
            (address, protocol.local_candidate.port): None
            for protocol in protocols
            for address in advertise(protocol.local_candidate.host)
        }
        candidates = [_host_candidate(component, host, port) for host, port in told]
        found, _ = await _ask_servers(connection, component, protocols, limit, hide=False)
        return candidates + found

    choose = addresses
    override(connection, "get_component_candidates", get_component_candidates)


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


async def _relay(connection: ice.Connection, component: int, limit: float) -> list[Candidate]:
    candidates, failures = await _ask_servers(connection, component, [], limit, hide=True)
    if not candidates:
        raise NoRelayError("; ".join(failures) or "none is configured")
    return candidates


def _reaches_out(host: str) -> bool:
    """Whether a STUN server can be asked from this address; aioice asks over IPv4 only."""
    address = ipaddress.ip_address(host)
    return address.version == 4 and not address.is_loopback


async def _ask_servers(
    connection: ice.Connection, component: int, protocols: list[ice.StunProtocol], limit: float, *, hide: bool
) -> tuple[list[Candidate], list[str]]:
    """Server-reflexive and relayed candidates, and why a server gave none. hide: a relayed one names it alone."""
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
                hide_related_address=hide,
                protocol_factory=lambda: ice.StunProtocol(connection),
                turn_server=connection.turn_server,
                turn_username=connection.turn_username,
                turn_password=connection.turn_password,
                turn_ssl=connection.turn_ssl,
                turn_transport=connection.turn_transport,
            )
        )
    if not jobs:
        return [], []
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, timeout=limit)
    finally:
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    candidates = []
    failures = []
    for answer in answers:
        if isinstance(answer, BaseException):
            failures.append(explain(answer))
            continue
        candidate, relay = answer
        candidates.append(candidate)
        if relay is not None:
            connection._protocols.append(relay)
    for failure in failures:
        log.warning("rtc_ice_server_failed", why=failure)
    return candidates, failures
