"""Which addresses and ports of this machine a viewer is offered."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Literal

from server.rtc.settings import RtcSettings

LOOPBACK = "127.0.0.1"
MAX_ADDRESSES = 8  # a machine with many bridges: this many are enough

Place = Literal["here", "inside", "outside"]
"""Where a viewer signals from: this machine, a private network, or anywhere else."""

_PRIVATE = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)


def place_of(address: str | None) -> Place:
    """Where the address that a viewer signals from lies. Behind a proxy that is the proxy's: then more is offered."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "outside"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return "here"
    return "inside" if any(ip in network for network in _PRIVATE) else "outside"


def to_bind(settings: RtcSettings, own: Sequence[str], place: Place) -> list[str]:
    """The addresses to listen on. own: the machine's, without loopback. place: where the viewer is.

    A machine without a network has only loopback, and a viewer on the machine itself can always reach that.
    """
    chosen = list(own[:MAX_ADDRESSES])
    if settings.loopback == "on" or (settings.loopback == "auto" and (place == "here" or not chosen)):
        chosen.append(LOOPBACK)
    return list(dict.fromkeys(chosen))


def to_try(settings: RtcSettings) -> Sequence[int]:
    """The UDP ports to try, in order: all viewers share the first that is free; (0,) for any."""
    return range(settings.port_min, settings.port_max + 1) if settings.port_min else (0,)


def advertiser(settings: RtcSettings, place: Place) -> Callable[[str], list[str]]:
    """From a bound address to those that the viewer is told: the public one of its IP version in its place.

    A viewer in a private network may be in this machine's: the way out to the public address and back in again is
    closed in many routers, so it is told the machine's own address, too.
    """
    public = {ipaddress.ip_address(each).version: each for each in settings.public_ips}

    def advertise(address: str) -> list[str]:
        ip = ipaddress.ip_address(address)
        told = public.get(ip.version)
        if told is None or ip.is_loopback:
            return [address]
        return [told] if place == "outside" else [told, address]

    return advertise
