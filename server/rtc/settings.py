"""What an operator decides about WebRTC: addresses, ports, ICE servers, limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

Loopback = Literal["auto", "on", "off"]
"""Whether 127.0.0.1 is offered to the viewer. auto: when the viewer signals from this machine, or there is no other."""

Policy = Literal["all", "relay"]
"""Which ways media may take. relay: through the TURN server only, and no address of this machine is named."""

_URL = re.compile(r"(stuns?|turns?):[A-Za-z0-9.\-_]+(:[0-9]{1,5})?(\?transport=(udp|tcp))?")

MAX_URLS = 8


@dataclass(frozen=True, slots=True)
class RtcSettings:
    """Raises ValueError, with a sentence that names the setting, when a value cannot work.

    public_ip: the address that viewers reach this machine at when it is behind 1:1 NAT; it replaces the machine's own
        addresses of the same IP version in the answers. One of each version may be given, separated by a comma.
    port_min, port_max: UDP ports for media, both inclusive; 0 and 0: whatever the system gives.
    stun_server, turn_server: given to the viewers. turn_server may be several, separated by commas.
    turn_server_local: how this machine itself reaches the TURN server (the first of turn_server if empty). URLs as
        "stun:host:3478", "turn:host:3478?transport=udp"; a bare "host:port" is taken.
    turn_secret: shared with the TURN server; then each session gets credentials of its own, good for turn_seconds.
        Or turn_username and turn_password, which never change.
    connect_seconds: from the answer to a finished handshake. silence_seconds: how long a connected viewer may be
        silent (no RTCP, no STUN) before it counts as vanished.
    """

    public_ip: str = ""
    port_min: int = 0
    port_max: int = 0
    stun_server: str = ""
    turn_server: str = ""
    turn_server_local: str = ""
    turn_username: str = ""
    turn_password: str = field(default="", repr=False)
    turn_secret: str = field(default="", repr=False)
    turn_seconds: int = 14_400
    ice_transport_policy: Policy = "all"
    loopback: Loopback = "auto"
    max_peers_per_session: int = 16
    max_peers: int = 256
    connect_seconds: float = 9.0
    silence_seconds: float = 7.0

    def __post_init__(self) -> None:
        self._check_addresses()
        if (self.port_min or self.port_max) and not 1024 <= self.port_min <= self.port_max <= 65535:
            raise ValueError(
                f"WEBRTC_PORT_MIN and WEBRTC_PORT_MAX must be 1024 <= min <= max <= 65535, "
                f"not {self.port_min} and {self.port_max}"
            )
        for name, scheme in (("stun_server", "stun"), ("turn_server", "turn"), ("turn_server_local", "turn")):
            urls = _urls(getattr(self, name), scheme)
            if len(urls) > (MAX_URLS if name == "turn_server" else 1):
                raise ValueError(f"WEBRTC_{name.upper()} has too many addresses: {getattr(self, name)!r}")
            if not all(_URL.fullmatch(url) and url.startswith(scheme) for url in urls):
                raise ValueError(f"WEBRTC_{name.upper()} is not a {scheme}: address: {getattr(self, name)!r}")
            object.__setattr__(self, name, ",".join(urls))
        self._check_turn()
        if self.loopback not in ("auto", "on", "off"):
            raise ValueError(f"loopback must be auto, on or off, not {self.loopback!r}")
        if self.max_peers_per_session < 1 or self.max_peers < 1:
            raise ValueError("max_peers_per_session and max_peers must be at least 1")

    @property
    def public_ips(self) -> tuple[str, ...]:
        return tuple(part for part in (each.strip() for each in self.public_ip.split(",")) if part)

    @property
    def turn_urls(self) -> tuple[str, ...]:
        return tuple(self.turn_server.split(",")) if self.turn_server else ()

    @property
    def own_turn_url(self) -> str:
        """The one that this machine itself uses; "": none."""
        return self.turn_server_local or (self.turn_urls[0] if self.turn_urls else "")

    @property
    def relay_only(self) -> bool:
        return self.ice_transport_policy == "relay"

    def _check_addresses(self) -> None:
        try:
            versions = [ipaddress.ip_address(each).version for each in self.public_ips]
        except ValueError:
            raise ValueError(f"WEBRTC_PUBLIC_IP is not an IP address: {self.public_ip!r}") from None
        if len(set(versions)) < len(versions):
            raise ValueError(f"WEBRTC_PUBLIC_IP takes one address of each IP version, not {self.public_ip!r}")

    def _check_turn(self) -> None:
        if self.ice_transport_policy not in ("all", "relay"):
            raise ValueError(f"WEBRTC_ICE_TRANSPORT_POLICY must be all or relay, not {self.ice_transport_policy!r}")
        if not self.turn_server:
            if self.relay_only:
                raise ValueError("ice_transport_policy: relay needs a TURN server to relay through: WEBRTC_TURN_SERVER")
            if self.turn_secret or self.turn_server_local:
                raise ValueError("WEBRTC_TURN_SECRET and WEBRTC_TURN_SERVER_LOCAL need WEBRTC_TURN_SERVER beside them")
            return
        if self.turn_secret and (self.turn_username or self.turn_password):
            raise ValueError(
                "give WEBRTC_TURN_SECRET, or WEBRTC_TURN_USERNAME and WEBRTC_TURN_PASSWORD, not both kinds: "
                "with a secret the user names are made for each session"
            )
        if not self.turn_secret and not (self.turn_username and self.turn_password):
            raise ValueError(
                "WEBRTC_TURN_SERVER needs WEBRTC_TURN_SECRET, or WEBRTC_TURN_USERNAME and WEBRTC_TURN_PASSWORD: "
                "browsers use no TURN server without"
            )
        if self.own_turn_url.startswith("turns:") and self.own_turn_url.endswith("transport=udp"):
            raise ValueError("WEBRTC_TURN_SERVER_LOCAL must be turn:, or turns: over TCP: DTLS is not spoken here")
        if not 60 <= self.turn_seconds <= 30 * 86_400:
            raise ValueError(f"turn_seconds must be from 60 to 2592000 (30 days), not {self.turn_seconds}")


def _urls(value: str, scheme: str) -> list[str]:
    """Comma-separated addresses, each with its scheme."""
    each = [part for part in (part.strip() for part in value.split(",")) if part]
    return [part if re.match(r"(stuns?|turns?):", part) else f"{scheme}:{part}" for part in each]
