"""Whether what the settings say about the network works from this machine: for `run.py doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from aioice import turn
from aiortc.rtcicetransport import connection_kwargs

from server.rtc.ice_servers import explain, for_server
from server.rtc.settings import RtcSettings

TURN_SECONDS = 5.0


async def try_turn(settings: RtcSettings) -> tuple[bool, str]:
    """Ask the TURN server for an address, as each connection does, and give it back: whether it works, and the address
    or what is wrong.
    """
    asked = connection_kwargs(for_server(settings, time.time()))
    done = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout(TURN_SECONDS):
            transport, _ = await turn.create_turn_endpoint(
                lambda: _Closed(done),
                asked["turn_server"],
                asked["turn_username"],
                asked["turn_password"],
                ssl=asked["turn_ssl"],
                transport=asked["turn_transport"],
            )
            host, port = transport.get_extra_info("sockname")
            transport.close()
            await done
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return False, explain(error)
    return True, f"{host}:{port}"


def free_ports(settings: RtcSettings) -> list[int]:
    """The ports of the range that can be bound now. A server that runs has one of them for each of its addresses."""
    free = []
    for number in range(settings.port_min, settings.port_max + 1) if settings.port_min else ():
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", number))
            free.append(number)
    return free


class _Closed(asyncio.DatagramProtocol):
    def __init__(self, done: asyncio.Future[None]) -> None:
        self._done = done

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)
