"""UDP sockets that many viewers share: each datagram is brought to the connection that it belongs to.

A connection is found by the name in its STUN requests (our ICE user fragment), and the sender's address is kept for
what follows only once such a request has carried the connection's own MESSAGE-INTEGRITY. What nobody has vouched for is
dropped without an answer, so a stranger gets nothing sent, and nothing kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from aioice import stun

from server.log_context import of_nobody

log = structlog.get_logger(__name__)

Address = tuple[str, int]

MAX_ADDRESSES = 16
"""Of one connection at a time: a viewer's networks, and what its NAT makes of them. The one longest silent goes."""

MAX_HOLDERS = 4
"""Connections that one address may speak for: a NAT gives a dead one's port to the next before we know that it died."""

MAX_WAITING = 4096
"""Datagrams that wait because the system's buffer is full, some 5 MB; further ones are lost, as UDP may be."""

MAX_DATAGRAM = 4096  # bytes; WebRTC sends 1200 at most
BATCH = 64  # datagrams read before others have their turn
SOCKET_BUFFER = 4 << 20  # bytes asked for, the system may give less

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST, _BINDING_RESPONSE, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_USERNAME, _MESSAGE_INTEGRITY = 0x0006, 0x0008

_UNPARSABLE = (ValueError, KeyError, IndexError, struct.error)
"""What aioice's parser raises on what is not quite STUN."""


@dataclass(slots=True)
class Counts:
    """Datagrams. strange: belonged to nobody. lost: could not be sent."""

    strange: int = 0
    lost: int = 0


class Receiver(Protocol):
    """The connection's side. Nothing here may block."""

    def checked(self, message: stun.Message, address: Address) -> None:
        """A binding request with the connection's own credentials."""

    def data(self, data: bytes) -> None:
        """A DTLS or SRTP datagram from an address that such a request came from; not authenticated."""

    def connection_lost(self, exc: Exception | None) -> None:
        """After `Way.close`, and from the loop."""


class Way(asyncio.DatagramTransport):
    """One connection's part of a port: a datagram transport as far as aioice needs one."""

    def __init__(self, port: MediaPort, ufrag: str, password: str, receiver: Receiver) -> None:
        super().__init__()
        self._port = port
        self._closing = False
        self.ufrag = ufrag
        self.password = password.encode()
        self.receiver = receiver
        self.addresses: dict[Address, None] = {}
        """That speak for this connection, the one heard of last at the end."""

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closing:
            self._port.send(data, addr)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._port.remove(self)
            asyncio.get_running_loop().call_soon(self.receiver.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._port.name if name == "sockname" else default


class MediaPort:
    """One socket. closed: called when its last way has gone and the socket with it. counts: are added to."""

    def __init__(self, bound: socket.socket, closed: Callable[[], None], counts: Counts) -> None:
        bound.setblocking(False)
        self._socket = bound
        self._closed = closed
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._ways: dict[bytes, Way] = {}
        self._holders: dict[Address, tuple[Way, ...]] = {}
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self.transactions: dict[bytes, stun.Transaction] = {}
        """The STUN requests of all ways that wait for their answers, by their ids."""
        host, port = bound.getsockname()[:2]
        self.name: Address = (host, port)
        self._loop.add_reader(bound.fileno(), self._readable)

    @property
    def addresses(self) -> Iterator[Address]:
        """The senders' addresses that are kept."""
        return iter(self._holders)

    def add(self, ufrag: str, password: str, receiver: Receiver) -> Way:
        """A way for the connection with these credentials of ours. The fragment must be new here."""
        name = ufrag.encode()
        if name in self._ways:
            raise ValueError("Two connections on one port have the same ICE user fragment.")
        way = self._ways[name] = Way(self, ufrag, password, receiver)
        return way

    def remove(self, way: Way) -> None:
        """Forget a way and its addresses; the last one closes the socket. Ways do this themselves."""
        del self._ways[way.ufrag.encode()]
        for address in tuple(way.addresses):
            self._let_go(way, address)
        if not self._ways:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._waiting.clear()
            self._socket.close()
            self._closed()

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, data: bytes, address: Address) -> None:
        """Without waiting; what cannot be sent is lost."""
        if self._waiting:
            self._keep(data, address)
            return
        try:
            self._socket.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket.fileno(), self._writable)
            self._keep(data, address)
        except OSError as error:
            self._failed(error)

    def _keep(self, data: bytes, address: Address) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((data, address))
        else:
            self._counts.lost += 1

    def _writable(self) -> None:
        while self._waiting:
            try:
                self._socket.sendto(*self._waiting[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
            self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _failed(self, error: OSError) -> None:
        """No route to a viewer's address, or a firewall of our own: its checks fail, and that is all."""
        self._counts.lost += 1
        log.debug("rtc_cannot_send", error=str(error))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, address = self._socket.recvfrom(MAX_DATAGRAM)
            except OSError:  # nothing more, or an error that the system tells of an earlier datagram
                return
            self._received(data, address[:2])
            if not self._ways:
                return

    def _received(self, data: bytes, address: Address) -> None:
        first = data[0] if data else 255
        if first > 3:
            # RFC 7983: DTLS, and SRTP. Where two connections hold an address, their keys tell what is whose.
            if 19 < first < 64 or 127 < first < 192:
                holders = self._holders.get(address, ())
                for way in holders:
                    way.receiver.data(data)
                if holders:
                    return
        elif len(data) >= _HEADER.size:
            kind, _, cookie, transaction = _HEADER.unpack_from(data)
            if cookie == stun.COOKIE and self._stun(kind, transaction, data, address):
                return
        self._counts.strange += 1

    def _stun(self, kind: int, transaction: bytes, data: bytes, address: Address) -> bool:
        """Whether it was somebody's."""
        if kind == _BINDING_REQUEST:
            way = self._ways.get(_local_name(data))
            message = _parse(data) if way is not None else None
            if way is None or message is None or not message.check_message_integrity(way.password):
                return False
            if "PRIORITY" not in message.attributes or not self._hold(way, address):
                return False
            way.receiver.checked(message, address)
            return True
        if kind in (_BINDING_RESPONSE, _BINDING_ERROR):
            waiting = self.transactions.get(transaction)
            message = _parse(data) if waiting is not None else None
            if waiting is not None and message is not None:
                waiting.response_received(message, address)  # looks at its MESSAGE-INTEGRITY
                return True
        return False

    def _hold(self, way: Way, address: Address) -> bool:
        """Let an address speak for a connection. False: it speaks for too many already."""
        if address in way.addresses:
            del way.addresses[address]
            way.addresses[address] = None
            return True
        holders = self._holders.get(address, ())
        if len(holders) >= MAX_HOLDERS:
            return False
        if len(way.addresses) >= MAX_ADDRESSES:
            self._let_go(way, next(iter(way.addresses)))
        self._holders[address] = (*holders, way)
        way.addresses[address] = None
        return True

    def _let_go(self, way: Way, address: Address) -> None:
        del way.addresses[address]
        left = tuple(each for each in self._holders[address] if each is not way)
        if left:
            self._holders[address] = left
        else:
            del self._holders[address]


class MediaPorts:
    """A server's sockets: one for each of its addresses that viewers use, for as long as any does."""

    def __init__(self, numbers: Sequence[int]) -> None:
        """numbers: the UDP ports to try, in order; 0 for any."""
        self._numbers = numbers
        self.counts = Counts()
        self._ports: dict[str, MediaPort] = {}

    @property
    def count(self) -> int:
        """Sockets that are open."""
        return len(self._ports)

    def open(self, host: str) -> MediaPort | None:
        """The socket on this address; None when no port is free, or the address has just gone.

        The caller adds a way before it does anything else, or the socket stays.
        """
        port = self._ports.get(host)
        if port is None:
            bound = _bind(host, self._numbers)
            if bound is None:
                return None
            port = self._ports[host] = of_nobody().run(MediaPort, bound, lambda: self._closed(host), self.counts)
            log.info("rtc_port_opened", address=port.name[0], port=port.name[1])
        return port

    def _closed(self, host: str) -> None:
        del self._ports[host]


def _bind(host: str, numbers: Sequence[int]) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in numbers:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.bind((host, number))
        except OSError as error:
            bound.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
            log.warning("rtc_cannot_bind", address=host, error=str(error))
            return None
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                bound.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        return bound
    return None


def _local_name(data: bytes) -> bytes:
    """The part of a request's USERNAME that names our side: before the colon. b"": it has none."""
    at = _HEADER.size
    while at + _ATTRIBUTE.size <= len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        at += _ATTRIBUTE.size
        if kind == _USERNAME:
            return data[at : at + length].partition(b":")[0]
        if kind == _MESSAGE_INTEGRITY:
            break
        at += length + -length % 4
    return b""


def _parse(data: bytes) -> stun.Message | None:
    try:
        return stun.parse_message(data)
    except _UNPARSABLE:
        return None
