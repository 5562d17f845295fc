"""What an operator decides about WebRTC: addresses, ports, ICE servers, limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Literal

from aiortc import RTCIceServer

Loopback = Literal["auto", "on", "off"]
"""Whether 127.0.0.1 is offered to the viewer. auto: when the viewer signals from this machine, or there is no other."""

_URL = re.compile(r"(stuns?|turns?):[A-Za-z0-9.\-_]+(:[0-9]{1,5})?(\?transport=(udp|tcp))?")


@dataclass(frozen=True, slots=True)
class RtcSettings:
    """Raises ValueError, with a sentence that names the setting, when a value cannot work.

    public_ip: the address that viewers reach this machine at when it is behind 1:1 NAT; it replaces the machine's own
        addresses of the same IP version in the answers.
    port_min, port_max: UDP ports for media, both inclusive; 0 and 0: whatever the system gives.
    stun_server, turn_server: given to the viewers. turn_server_local: how this machine itself reaches the TURN server
        (the same one if empty). URLs as "stun:host:3478", "turn:host:3478?transport=udp"; a bare "host:port" is taken.
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
    turn_password: str = ""
    loopback: Loopback = "auto"
    max_peers_per_session: int = 16
    max_peers: int = 256
    connect_seconds: float = 9.0
    silence_seconds: float = 7.0

    def __post_init__(self) -> None:
        if self.public_ip:
            try:
                ipaddress.ip_address(self.public_ip)
            except ValueError:
                raise ValueError(f"WEBRTC_PUBLIC_IP is not an IP address: {self.public_ip!r}") from None
        if (self.port_min or self.port_max) and not 1024 <= self.port_min <= self.port_max <= 65535:
            raise ValueError(
                f"WEBRTC_PORT_MIN and WEBRTC_PORT_MAX must be 1024 <= min <= max <= 65535, "
                f"not {self.port_min} and {self.port_max}"
            )
        for name, scheme in (("stun_server", "stun"), ("turn_server", "turn"), ("turn_server_local", "turn")):
            url = _url(getattr(self, name), scheme)
            if url and not (_URL.fullmatch(url) and url.startswith(scheme)):
                raise ValueError(f"WEBRTC_{name.upper()} is not a {scheme}: address: {getattr(self, name)!r}")
            object.__setattr__(self, name, url)
        if self.loopback not in ("auto", "on", "off"):
            raise ValueError(f"loopback must be auto, on or off, not {self.loopback!r}")
        if self.max_peers_per_session < 1 or self.max_peers < 1:
            raise ValueError("max_peers_per_session and max_peers must be at least 1")

    def ice_servers_json(self) -> list[dict[str, Any]]:
        """The ICE servers for the viewers, as RTCPeerConnection's `iceServers` takes them."""
        servers: list[dict[str, Any]] = []
        if self.stun_server:
            servers.append({"urls": [self.stun_server]})
        if self.turn_server:
            servers.append({"urls": [self.turn_server], **self._credentials()})
        return servers

    def ice_server_links(self) -> list[str]:
        """The same as values of Link headers (draft-ietf-wish-whep, section 4.4)."""
        links = []
        for server in self.ice_servers_json():
            link = f'<{server["urls"][0]}>; rel="ice-server"'
            if "username" in server:
                link += f"; username={_quoted(server['username'])}; credential={_quoted(server['credential'])}"
                link += '; credential-type="password"'
            links.append(link)
        return links

    def own_ice_servers(self) -> list[RTCIceServer]:
        """The ICE servers that this machine itself asks. STUN is of no use once the public address is known."""
        servers = []
        if self.stun_server and not self.public_ip:
            servers.append(RTCIceServer(urls=self.stun_server))
        turn = self.turn_server_local or self.turn_server
        if turn:
            servers.append(RTCIceServer(urls=turn, **self._credentials()))
        return servers

    def _credentials(self) -> dict[str, str]:
        if not self.turn_username:
            return {}
        return {"username": self.turn_username, "credential": self.turn_password}


def _url(value: str, scheme: str) -> str:
    value = value.strip()
    return f"{scheme}:{value}" if value and not re.match(r"(stuns?|turns?):", value) else value


def _quoted(value: str) -> str:
    """A quoted-string (RFC 9110, section 5.6.4); control characters cannot be in one."""
    return '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\x00-\x1f\x7f]", "", value)) + '"'
