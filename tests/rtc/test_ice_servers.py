"""Which STUN and TURN servers are named to whom, with which credentials."""

from __future__ import annotations

import errno

import pytest
from aioice import stun

from server.rtc.ice_servers import explain, for_server, for_viewer, links, time_limited
from server.rtc.settings import RtcSettings

NOW = 1_800_000_000.9


def test_by_default_no_server_is_asked() -> None:
    settings = RtcSettings()
    assert for_viewer(settings, "s1", NOW) == []
    assert for_server(settings, NOW) == []
    assert links([]) == []


def test_viewers_get_the_servers_with_credentials_and_this_machine_uses_its_own_way() -> None:
    settings = RtcSettings(
        stun_server="stun.example.net:3478",
        turn_server="turn:turn.example.net:3478?transport=udp, turns:turn.example.net:443?transport=tcp",
        turn_server_local="turn:10.0.0.5:3478",
        turn_username='us"er',
        turn_password="pass\\word",
    )
    servers = for_viewer(settings, "s1", NOW)
    assert servers == [
        {"urls": ["stun:stun.example.net:3478"]},
        {
            "urls": ["turn:turn.example.net:3478?transport=udp", "turns:turn.example.net:443?transport=tcp"],
            "username": 'us"er',
            "credential": "pass\\word",
        },
    ]
    told = 'rel="ice-server"; username="us\\"er"; credential="pass\\\\word"; credential-type="password"'
    assert links(servers) == [
        '<stun:stun.example.net:3478>; rel="ice-server"',
        f"<turn:turn.example.net:3478?transport=udp>; {told}",
        f"<turns:turn.example.net:443?transport=tcp>; {told}",
    ]
    assert [server.urls for server in for_server(settings, NOW)] == [
        "stun:stun.example.net:3478",
        "turn:10.0.0.5:3478",
    ]


def test_the_credentials_are_coturns_time_limited_ones() -> None:
    # printf 1600000000:s1 | openssl dgst -sha1 -hmac north -binary | base64
    made = time_limited("north", "s1", 1_600_000_000)
    assert (made.username, made.password) == ("1600000000:s1", "hIpjZ+7/QEgZkwsif5mXkiunUG4=")


def test_each_session_gets_credentials_of_its_own_and_new_ones_each_time() -> None:
    settings = RtcSettings(turn_server="turn:t:3478", turn_secret="north", turn_seconds=600)
    (first,) = for_viewer(settings, "s1", NOW)
    (other,) = for_viewer(settings, "s2", NOW)
    (later,) = for_viewer(settings, "s1", NOW + 3600)
    assert first["username"] == "1800000600:s1"
    assert other["username"] == "1800000600:s2"
    assert later["username"] == "1800004200:s1"
    assert len({first["credential"], other["credential"], later["credential"]}) == 3
    assert first["credential"] == time_limited("north", "s1", 1_800_000_600).password
    (own,) = for_server(settings, NOW)
    assert (own.urls, own.username) == ("turn:t:3478", "1800000600:server")
    assert own.credential == time_limited("north", "server", 1_800_000_600).password


def test_the_first_address_is_this_machines_own_way_too() -> None:
    settings = RtcSettings(turn_server="a:3478,turns:b:443", turn_username="u", turn_password="p")
    assert [server.urls for server in for_server(settings, NOW)] == ["turn:a:3478"]


@pytest.mark.parametrize(
    "more",
    [
        {"public_ip": "203.0.113.7"},
        {"ice_transport_policy": "relay", "turn_server": "t:1", "turn_username": "u", "turn_password": "p"},
    ],
)
def test_no_stun_server_is_asked_where_its_answer_is_known_or_hidden(more: dict[str, str]) -> None:
    settings = RtcSettings(stun_server="stun:stun.example.net", **more)  # type: ignore[arg-type]
    assert not any("stun" in server.urls for server in for_server(settings, NOW))
    assert for_viewer(settings, "s1", NOW)[0] == {"urls": ["stun:stun.example.net"]}


def refused(code: int) -> stun.TransactionFailed:
    message = stun.Message(stun.Method.ALLOCATE, stun.Class.ERROR, attributes={"ERROR-CODE": (code, "Because")})
    return stun.TransactionFailed(message)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refused(401), "static-auth-secret"),
        (refused(486), "quota"),
        (refused(500), "error (500)"),
        (stun.TransactionTimeout(), "did not answer in time"),
        (TimeoutError(), "did not answer in time"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_a_failure_says_what_to_do(error: Exception, says: str) -> None:
    assert says in explain(error)
