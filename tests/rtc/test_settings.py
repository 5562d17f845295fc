from __future__ import annotations

import pytest

from server.rtc.addresses import advertiser, is_loopback, to_bind, to_try
from server.rtc.settings import RtcSettings


def test_by_default_no_server_is_asked() -> None:
    settings = RtcSettings()
    assert settings.ice_servers_json() == []
    assert settings.own_ice_servers() == []
    assert settings.ice_server_links() == []


def test_viewers_get_the_servers_with_credentials_and_this_machine_uses_its_own_way() -> None:
    settings = RtcSettings(
        stun_server="stun.example.net:3478",
        turn_server="turn:turn.example.net:3478?transport=udp",
        turn_server_local="turn:10.0.0.5:3478",
        turn_username='us"er',
        turn_password="pass\\word",
    )
    assert settings.ice_servers_json() == [
        {"urls": ["stun:stun.example.net:3478"]},
        {
            "urls": ["turn:turn.example.net:3478?transport=udp"],
            "username": 'us"er',
            "credential": "pass\\word",
        },
    ]
    assert settings.ice_server_links() == [
        '<stun:stun.example.net:3478>; rel="ice-server"',
        '<turn:turn.example.net:3478?transport=udp>; rel="ice-server"; username="us\\"er"; '
        'credential="pass\\\\word"; credential-type="password"',
    ]
    assert [server.urls for server in settings.own_ice_servers()] == [
        "stun:stun.example.net:3478",
        "turn:10.0.0.5:3478",
    ]


def test_with_a_known_public_address_no_stun_server_is_asked() -> None:
    settings = RtcSettings(stun_server="stun:stun.example.net", public_ip="203.0.113.7")
    assert settings.own_ice_servers() == []
    assert settings.ice_servers_json() != []


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"public_ip": "school.example"}, "WEBRTC_PUBLIC_IP"),
        ({"port_min": 50000}, "WEBRTC_PORT_MIN"),
        ({"port_min": 50010, "port_max": 50000}, "WEBRTC_PORT_MIN"),
        ({"port_min": 80, "port_max": 90}, "WEBRTC_PORT_MIN"),
        ({"stun_server": "http://stun.example.net"}, "WEBRTC_STUN_SERVER"),
        ({"turn_server": "turn:bad host"}, "WEBRTC_TURN_SERVER"),
        ({"loopback": "maybe"}, "loopback"),
        ({"max_peers_per_session": 0}, "max_peers"),
    ],
)
def test_values_that_cannot_work_are_named(values: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RtcSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loopback", "own", "near", "bound"),
    [
        ("auto", ["192.0.2.1"], False, ["192.0.2.1"]),
        ("auto", ["192.0.2.1"], True, ["192.0.2.1", "127.0.0.1"]),
        ("auto", [], False, ["127.0.0.1"]),
        ("on", ["192.0.2.1"], False, ["192.0.2.1", "127.0.0.1"]),
        ("off", ["192.0.2.1"], True, ["192.0.2.1"]),
    ],
)
def test_loopback_is_offered_when_it_helps(loopback: str, own: list[str], near: bool, bound: list[str]) -> None:
    assert to_bind(RtcSettings(loopback=loopback), own, near=near) == bound  # type: ignore[arg-type]


def test_the_whole_port_range_is_tried() -> None:
    settings = RtcSettings(port_min=50000, port_max=50009)
    assert sorted(to_try(settings)) == list(range(50000, 50010))
    assert list(to_try(RtcSettings())) == [0]


def test_the_public_address_stands_for_the_machines_own_of_its_version() -> None:
    advertise = advertiser(RtcSettings(public_ip="203.0.113.7"))
    assert advertise("10.0.0.4") == "203.0.113.7"
    assert advertise("127.0.0.1") == "127.0.0.1"
    assert advertise("fd00::2") == "fd00::2"


@pytest.mark.parametrize(
    ("address", "near"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False), (None, False), ("?", False)],
)
def test_who_is_on_this_machine(address: str | None, near: bool) -> None:
    assert is_loopback(address) is near
