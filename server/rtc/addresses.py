"""Which addresses and ports of this machine a viewer is offered."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence

from server.rtc.settings import RtcSettings

LOOPBACK = "127.0.0.1"
MAX_ADDRESSES = 8  # a machine with many bridges: a socket a viewer on each is enough


def is_loopback(address: str | None) -> bool:
    """Whether a viewer that signals from this address is on this machine."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def to_bind(settings: RtcSettings, own: Sequence[str], *, near: bool) -> list[str]:
    """The addresses to listen on. own: the machine's, without loopback. near: the viewer is on this machine.

    A machine without a network has only loopback, and a viewer on the machine itself can always reach that.
    """
    chosen = list(own[:MAX_ADDRESSES])
    if settings.loopback == "on" or (settings.loopback == "auto" and (near or not chosen)):
        chosen.append(LOOPBACK)
    return chosen


def to_try(settings: RtcSettings) -> Sequence[int]:
    """The UDP ports to try, in order: the whole range, begun at a random place so that most binds succeed at once."""
    if not settings.port_min:
        return (0,)
    ports = range(settings.port_min, settings.port_max + 1)
    start = random.randrange(len(ports))
    return [*ports[start:], *ports[:start]]


def advertiser(settings: RtcSettings) -> Callable[[str], str]:
    """From a bound address to the one that the viewer is told."""
    if not settings.public_ip:
        return lambda address: address
    public = ipaddress.ip_address(settings.public_ip)

    def advertise(address: str) -> str:
        ip = ipaddress.ip_address(address)
        return str(public) if ip.version == public.version and not ip.is_loopback else address

    return advertise
