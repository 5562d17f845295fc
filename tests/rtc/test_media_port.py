"""One socket for many connections: what is whose, what strangers can do, and what stays behind."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from aioice import stun

from server.rtc.media_port import MAX_ADDRESSES, MAX_HOLDERS, MAX_WAITING, Address, MediaPort, MediaPorts, Way
from tests.rtc.clients import until

RTP = b"\x80\x60" + bytes(30)


class Connection:
    """A receiver that only writes down."""

    def __init__(self) -> None:
        self.checks: list[Address] = []
        self.got: list[bytes] = []
        self.ended = 0

    def checked(self, message: stun.Message, address: Address) -> None:
        self.checks.append(address)

    def data(self, data: bytes) -> None:
        self.got.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended += 1


def check(name: str, password: str, **more: object) -> bytes:
    """A viewer's STUN check of the connection with these credentials."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes = {"USERNAME": f"{name}:viewer", "PRIORITY": 1, **more}
    message.add_message_integrity(password.encode())
    return bytes(message)


@pytest.fixture
def ports() -> MediaPorts:
    return MediaPorts((0,))


@pytest.fixture
async def port(ports: MediaPorts) -> AsyncIterator[MediaPort]:
    made = ports.open("127.0.0.1")
    assert made is not None
    keeper = made.add("keeper", "k" * 22, Connection())
    yield made
    keeper.close()


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


class Sender:
    """A program with an address of its own."""

    def __init__(self, port: MediaPort, sockets: list[socket.socket]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address: Address = self.socket.getsockname()
        self._port = port
        sockets.append(self.socket)

    async def send(self, *datagrams: bytes) -> None:
        """Send, and wait until the port has read them all."""
        done = asyncio.Event()
        seen = self._port._received

        def received(data: bytes, address: Address) -> None:
            seen(data, address)
            if data == b"last":
                done.set()

        self._port._received = received  # type: ignore[method-assign]
        for data in (*datagrams, b"last"):
            await asyncio.get_running_loop().sock_sendto(self.socket, data, self._port.name)
        async with asyncio.timeout(30):
            await done.wait()
        del self._port._received

    def heard(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096))
            except BlockingIOError:
                return found


Made = tuple[Way, Connection]


def add(port: MediaPort, name: str) -> Made:
    connection = Connection()
    return port.add(name, name * 22, connection), connection


async def test_each_datagram_comes_to_the_connection_whose_credentials_its_sender_has(
    port: MediaPort, sockets: list[socket.socket]
) -> None:
    (way, a), (_, b) = add(port, "a"), add(port, "b")
    anna, ben = Sender(port, sockets), Sender(port, sockets)
    await anna.send(check("a", "a" * 22), RTP + b"anna")
    await ben.send(check("b", "b" * 22), b"\x16ben", RTP + b"ben")
    assert a.checks == [anna.address]
    assert b.checks == [ben.address]
    assert a.got == [RTP + b"anna"]
    assert b.got == [b"\x16ben", RTP + b"ben"]
    way.sendto(b"to anna", anna.address)
    await until(lambda: bool(select.select([anna.socket], [], [], 0)[0]))
    assert anna.heard() == [b"to anna"]
    assert ben.heard() == []


async def test_a_viewer_may_come_from_a_new_address(port: MediaPort, sockets: list[socket.socket]) -> None:
    _, a = add(port, "a")
    home, street = Sender(port, sockets), Sender(port, sockets)
    await home.send(check("a", "a" * 22))
    await street.send(RTP)
    assert a.got == []
    await street.send(check("a", "a" * 22), RTP)
    assert a.got == [RTP]


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x00",
        RTP,
        b"\x16\xfe\xfd" + bytes(60),
        check("a", "wrong" * 5),
        check("nobody", "a" * 22),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": "a:viewer"})),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.INDICATION)),
        bytes(stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST, attributes={"USERNAME": "a:viewer"})),
        check("a", "a" * 22)[:-3],
        check("a", "a" * 22)[:20],
        check("a", "a" * 22) + b"more",
        b"\x00\x01\x00\x10\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\xff\xffa:viewer_____",
        b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x00\x00\x06\x00\x01a:v",
    ],
    ids=lambda datagram: f"{len(datagram)} bytes",
)
async def test_what_nobody_vouches_for_is_dropped_without_an_answer(
    ports: MediaPorts, port: MediaPort, sockets: list[socket.socket], datagram: bytes
) -> None:
    _, a = add(port, "a")
    stranger = Sender(port, sockets)
    await stranger.send(datagram, RTP)
    assert a.checks == []
    assert a.got == []
    assert list(port.addresses) == []
    assert stranger.heard() == []
    assert ports.counts.strange >= 2


async def test_a_flood_of_strangers_leaves_nothing_and_takes_nothing_from_anybody(
    port: MediaPort, sockets: list[socket.socket]
) -> None:
    _, a = add(port, "a")
    anna = Sender(port, sockets)
    await anna.send(check("a", "a" * 22))
    for _ in range(20):
        await Sender(port, sockets).send(*[check(f"a{n}", "x" * 22) for n in range(10)], check("a", "x" * 22), RTP)
    assert list(port.addresses) == [anna.address]
    await anna.send(RTP)
    assert a.got == [RTP]


async def test_a_connection_holds_so_many_addresses_and_the_one_longest_silent_goes(
    port: MediaPort, sockets: list[socket.socket]
) -> None:
    way, a = add(port, "a")
    senders = [Sender(port, sockets) for _ in range(MAX_ADDRESSES + 1)]
    for sender in senders[:-1]:
        await sender.send(check("a", "a" * 22))
    await senders[0].send(check("a", "a" * 22))  # heard of again: the second is the oldest now
    await senders[-1].send(check("a", "a" * 22))
    assert len(way.addresses) == MAX_ADDRESSES
    assert set(port.addresses) == {each.address for each in senders} - {senders[1].address}
    await senders[0].send(RTP + b"0")
    await senders[1].send(RTP + b"1")
    assert a.got == [RTP + b"0"]


async def test_an_address_that_a_dead_connection_had_works_at_once_for_the_next(
    port: MediaPort, sockets: list[socket.socket]
) -> None:
    """A NAT may give it to somebody else before the silence of the first is noticed."""
    made = [add(port, name) for name in "abcdef"]
    shared = Sender(port, sockets)
    for name in "abcdef":
        await shared.send(check(name, name * 22))
    await shared.send(RTP)
    assert [len(connection.got) for _, connection in made] == [1] * MAX_HOLDERS + [0, 0]
    made[0][0].close()
    await shared.send(check("f", "f" * 22), RTP)
    assert made[5][1].got == [RTP]
    assert made[0][1].got == [RTP], "one that has closed gets nothing more"


async def test_an_answer_comes_to_whoever_asked_and_only_with_the_right_key(
    port: MediaPort, sockets: list[socket.socket]
) -> None:
    way, _ = add(port, "a")
    viewer, stranger = Sender(port, sockets), Sender(port, sockets)
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)

    class Asking:
        def send_stun(self, message: stun.Message, addr: Address) -> None:
            way.sendto(bytes(message), addr)

    asked = stun.Transaction(request, viewer.address, Asking(), integrity_key=b"viewers")
    port.transactions[request.transaction_id] = asked
    run = asyncio.create_task(asked.run())
    await asyncio.sleep(0)

    def answer(key: bytes) -> bytes:
        message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        message.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 1)
        message.add_message_integrity(key)
        return bytes(message)

    await stranger.send(answer(b"guessed"))
    assert not run.done()
    await viewer.send(answer(b"viewers"))
    async with asyncio.timeout(30):
        _, source = await run
    assert source == viewer.address
    assert list(port.addresses) == []


async def test_closing_frees_the_addresses_and_the_last_one_the_socket(sockets: list[socket.socket]) -> None:
    ports = MediaPorts((0,))
    port = ports.open("127.0.0.1")
    assert port is not None
    assert ports.open("127.0.0.1") is port
    (first, a), (second, _) = add(port, "a"), add(port, "b")
    with pytest.raises(ValueError, match="same ICE user fragment"):
        port.add("a", "x" * 22, Connection())
    await Sender(port, sockets).send(check("a", "a" * 22))
    first.close()
    first.close()
    assert list(port.addresses) == []
    assert ports.count == 1
    await asyncio.sleep(0)
    assert a.ended == 1
    first.sendto(b"too late", sockets[0].getsockname())
    second.close()
    assert ports.count == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(port.name)
    another = ports.open("127.0.0.1")
    assert another is not None
    add(another, "c")[0].close()


async def test_what_waits_to_be_sent_is_bounded_and_then_goes_in_order(
    ports: MediaPorts, port: MediaPort, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    way, _ = add(port, "a")
    viewer = Sender(port, sockets)
    full = True
    real = port._socket

    class Full:
        def sendto(self, data: bytes, address: Address) -> int:
            if full:
                raise BlockingIOError
            return real.sendto(data, address)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(port, "_socket", Full())
    for n in range(MAX_WAITING + 5):
        way.sendto(n.to_bytes(2, "big"), viewer.address)
    assert ports.counts.lost == 5
    full = False
    got: list[bytes] = []

    def all_came() -> bool:
        got.extend(viewer.heard())
        return len(port._waiting) == 0

    await until(all_came)
    got.extend(viewer.heard())
    numbers = [int.from_bytes(each, "big") for each in got]
    assert numbers[:50] == list(range(50))
    assert numbers == sorted(numbers)
    way.sendto(b"now", viewer.address)
    await until(lambda: b"now" in viewer.heard())


async def test_an_address_that_cannot_be_reached_harms_nothing(ports: MediaPorts, port: MediaPort) -> None:
    way, _ = add(port, "a")
    way.sendto(bytes(70_000), ("127.0.0.1", 9))  # larger than a datagram may be
    assert ports.counts.lost == 1


async def test_ports_that_others_have_are_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 27320))
        port = MediaPorts((27320, 27321)).open("127.0.0.1")
        assert port is not None
        assert port.name == ("127.0.0.1", 27321)
        add(port, "a")[0].close()
        assert MediaPorts((27320,)).open("127.0.0.1") is None
    assert MediaPorts((0,)).open("192.0.2.254") is None, "not an address of this machine"
