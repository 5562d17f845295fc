"""STUN and TURN servers: what viewers are told and what this machine asks itself. Pure; `now` is in Unix seconds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

from aioice import stun
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from server.rtc.settings import RtcSettings

OWN_NAME = "server"
"""Stands where a viewer's credentials have the session's id."""


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str


def time_limited(secret: str, name: str, expires: int) -> Credentials:
    """A user of a TURN server that shares the secret (coturn's `use-auth-secret`), until `expires` (Unix seconds)."""
    username = f"{expires}:{name}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return Credentials(username, base64.b64encode(digest).decode())


def for_viewer(settings: RtcSettings, name: str, now: float) -> list[dict[str, Any]]:
    """The servers as RTCPeerConnection's `iceServers` takes them. name: whose they are, a session's id."""
    servers: list[dict[str, Any]] = []
    if settings.stun_server:
        servers.append({"urls": [settings.stun_server]})
    if settings.turn_urls:
        who = _credentials(settings, name, now)
        servers.append({"urls": list(settings.turn_urls), "username": who.username, "credential": who.password})
    return servers


def links(servers: list[dict[str, Any]]) -> list[str]:
    """The same as values of Link headers (draft-ietf-wish-whep, section 4.4)."""
    values = []
    for server in servers:
        for url in server["urls"]:
            link = f'<{url}>; rel="ice-server"'
            if "username" in server:
                link += f"; username={_quoted(server['username'])}; credential={_quoted(server['credential'])}"
                link += '; credential-type="password"'
            values.append(link)
    return values


def for_server(settings: RtcSettings, now: float) -> list[RTCIceServer]:
    """The servers that this machine itself asks. STUN is of no use once the public address is known, or hidden."""
    servers = []
    if settings.stun_server and not settings.public_ip and not settings.relay_only:
        servers.append(RTCIceServer(urls=settings.stun_server))
    if settings.own_turn_url:
        who = _credentials(settings, OWN_NAME, now)
        servers.append(RTCIceServer(urls=settings.own_turn_url, username=who.username, credential=who.password))
    return servers


def configuration(settings: RtcSettings, now: float) -> RTCConfiguration:
    """Of a connection that this machine makes, with credentials of its own."""
    return RTCConfiguration(
        iceServers=for_server(settings, now),
        iceTransportPolicy=RTCIceTransportPolicy(settings.ice_transport_policy),
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )


def explain(error: BaseException) -> str:
    """Why a STUN or TURN server gave no address, and what to do about it: a sentence without its full stop."""
    if isinstance(error, stun.TransactionFailed):
        code = error.response.error_code
        if code in (401, 403, 441):
            return (
                f"it refused this server's credentials ({code}): webrtc.turn_secret must be the static-auth-secret of "
                "coturn, or turn_username and turn_password a user of it, and both clocks must agree"
            )
        if code in (486, 508):
            return f"it has no room for a further connection ({code}): raise its user-quota, total-quota or ports"
        return f"it answered with an error ({code})"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return f"it cannot be reached ({error.strerror or error}): check webrtc.turn_server_local and the firewall"
    return "it did not answer in time: see that it runs and that this machine may reach it (webrtc.turn_server_local)"


def _credentials(settings: RtcSettings, name: str, now: float) -> Credentials:
    if settings.turn_secret:
        return time_limited(settings.turn_secret, name, int(now) + settings.turn_seconds)
    return Credentials(settings.turn_username, settings.turn_password)


def _quoted(value: str) -> str:
    """A quoted-string (RFC 9110, section 5.6.4); control characters cannot be in one."""
    return '"' + re.sub(r'(["\\])', r"\\\1", re.sub(r"[\x00-\x1f\x7f]", "", value)) + '"'
