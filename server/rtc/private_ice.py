"""What is private of aioice and is touched: checks and candidates. tests/rtc/test_private.py fails when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aioice import Candidate, ice, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCIceTransport

from server.rtc.ice_servers import explain
from server.rtc.media_port import Address, MediaPort, MediaPorts
from server.rtc.private import connection_of, override

log = structlog.get_logger(__name__)

CONSENT_SECONDS = 2.0
"""Between two STUN checks of ours (RFC 7675 has 5 s with 30 s to expire; a vanished viewer is to be noticed sooner)."""

MAX_REMOTE = 64
"""Addresses of a viewer that are ever checked; a viewer with more makes a new connection."""

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
        known = any((each._network_host, each.port) == address for each in connection._remote_candidates)
        if known or len(connection._remote_candidates) < MAX_REMOTE:
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


class SharedProtocol(ice.StunProtocol):
    """aioice's protocol on a socket that other connections use, too."""

    def checked(self, message: stun.Message, address: Address) -> None:
        self.receiver.request_received(message, address, self)

    def data(self, data: bytes) -> None:
        self.receiver.data_received(data, self.local_candidate.component)


def gather_with(
    transport: RTCIceTransport,
    *,
    addresses: Callable[[list[str]], list[str]],
    ports: MediaPorts,
    advertise: Callable[[str], list[str]],
    relay_only: bool,
    limit: float,
) -> None:
    """Gather candidates our way: on chosen addresses and shared ports, told to the viewer under chosen addresses.

    To be called before the answer is made. addresses: from the machine's own (no loopback among them) to those to bind.
    advertise: the addresses to tell for a bound one. relay_only: bind nothing, tell what the TURN server gives alone.
    limit: seconds for STUN and TURN together; aioice takes 5.
    `setLocalDescription` then raises NoPortError when no port is free, NoRelayError when there is no relay.
    """
    connection = connection_of(transport)
    # aioice's own name has four characters: among many connections on one port it would not be one's own.
    override(connection, "_local_username", secrets.token_hex(8))

    async def get_component_candidates(component: int, addresses: list[str]) -> list[Candidate]:
        if relay_only:
            return await _relay(connection, component, limit)
        protocols = [
            _share(connection, component, port) for port in map(ports.open, choose(addresses)) if port is not None
        ]
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


def _share(connection: ice.Connection, component: int, port: MediaPort) -> SharedProtocol:
    """A way on the port for this connection, which closes it with itself."""
    protocol = SharedProtocol(connection)
    override(protocol, "transactions", port.transactions)
    protocol.connection_made(port.add(connection.local_username, connection.local_password, protocol))
    protocol.local_candidate = _host_candidate(component, *port.name)
    connection._protocols.append(protocol)
    return protocol


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
    connection: ice.Connection, component: int, protocols: Sequence[ice.StunProtocol], limit: float, *, hide: bool
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
