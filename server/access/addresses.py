"""Whose address a request comes from, also when proxies of ours passed it on."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_HOPS = 10  # of X-Forwarded-For that are looked at


@dataclass(frozen=True, slots=True)
class Client:
    """address: as text; "" if it is not known. name: what counts as one client: an IPv4 address, or an IPv6 /64, out of
    which one machine may take any address. own: a program of this machine, that no proxy speaks for, whoever it names.
    """

    address: str
    name: str
    own: bool


def client(peer: str | None, forwarded: Iterable[str], trusted: tuple[Network, ...]) -> Client:
    """Who sent a request.

    peer: whose connection it is. forwarded: the X-Forwarded-For headers. They count only where the peer is a trusted
    proxy, and then from the right: each proxy appends whom it got the request from, what stands before that anybody may
    have written.
    """
    found = _address(peer)
    if found is None:
        return Client("", "", own=False)
    hops = [hop.strip() for header in forwarded for hop in header.split(",")][-MOST_HOPS:]
    own = found.is_loopback and not (any(hops) and _within(found, trusted))
    while hops and _within(found, trusted):
        before = _address(_without_port(hops.pop()))
        if before is None:
            break
        found = before
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return Client(str(found), str(ipaddress.ip_network((int(found) >> 64 << 64, 64))), own)
    return Client(str(found), str(found), own)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """From addresses and networks like 10.0.0.0/8. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def trusts(peer: str | None, trusted: tuple[Network, ...]) -> bool:
    """Whether whose connection it is may speak for others."""
    found = _address(peer)
    return found is not None and _within(found, trusted)


def _without_port(hop: str) -> str:
    """Some proxies write it: 192.0.2.1:1234, [2001:db8::1]:1234."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, _, port = hop.partition(":")
    return host if port.isdecimal() else hop


def _address(text: str | None) -> Address | None:
    try:
        found = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _within(address: Address, trusted: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
