from __future__ import annotations

import socket

import pytest

from server.rtc.addresses import Place, advertiser, place_of, to_bind, to_try
from server.rtc.checks import free_ports
from server.rtc.settings import RtcSettings


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"public_ip": "school.example"}, "WEBRTC_PUBLIC_IP"),
        ({"port_min": 50000}, "WEBRTC_PORT_MIN"),
        ({"port_min": 50010, "port_max": 50000}, "WEBRTC_PORT_MIN"),
        ({"port_min": 80, "port_max": 90}, "WEBRTC_PORT_MIN"),
        ({"stun_server": "http://stun.example.net"}, "WEBRTC_STUN_SERVER"),
        ({"turn_server": "turn:bad host"}, "WEBRTC_TURN_SERVER"),
        ({"turn_server": ",".join(["t"] * 9)}, "WEBRTC_TURN_SERVER has too many"),
        ({"turn_server": "t:1", "turn_server_local": "a:1,b:1", "turn_secret": "s"}, "WEBRTC_TURN_SERVER_LOCAL"),
        ({"turn_server": "t:1"}, "WEBRTC_TURN_SECRET"),
        ({"turn_server": "t:1", "turn_username": "u"}, "WEBRTC_TURN_PASSWORD"),
        ({"turn_server": "t:1", "turn_secret": "s", "turn_username": "u"}, "not both"),
        ({"turn_secret": "s"}, "need WEBRTC_TURN_SERVER"),
        ({"turn_server": "turns:t?transport=udp", "turn_secret": "s"}, "DTLS"),
        ({"turn_server": "t:1", "turn_secret": "s", "turn_seconds": 5}, "turn_seconds"),
        ({"ice_transport_policy": "relay"}, "WEBRTC_TURN_SERVER"),
        ({"ice_transport_policy": "none"}, "WEBRTC_ICE_TRANSPORT_POLICY"),
        ({"public_ip": "203.0.113.7,203.0.113.8"}, "one address of each"),
        ({"loopback": "maybe"}, "loopback"),
        ({"max_peers_per_session": 0}, "max_peers"),
    ],
)
def test_values_that_cannot_work_are_named(values: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RtcSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loopback", "own", "place", "bound"),
    [
        ("auto", ["192.0.2.1"], "outside", ["192.0.2.1"]),
        ("auto", ["192.0.2.1"], "inside", ["192.0.2.1"]),
        ("auto", ["192.0.2.1"], "here", ["192.0.2.1", "127.0.0.1"]),
        ("auto", [], "outside", ["127.0.0.1"]),
        ("on", ["192.0.2.1"], "outside", ["192.0.2.1", "127.0.0.1"]),
        ("off", ["192.0.2.1"], "here", ["192.0.2.1"]),
    ],
)
def test_loopback_is_offered_when_it_helps(loopback: str, own: list[str], place: Place, bound: list[str]) -> None:
    assert to_bind(RtcSettings(loopback=loopback), own, place) == bound  # type: ignore[arg-type]


def test_the_whole_port_range_is_tried() -> None:
    settings = RtcSettings(port_min=50000, port_max=50009)
    assert list(to_try(settings)) == list(range(50000, 50010))
    assert list(to_try(RtcSettings())) == [0]


def test_the_public_address_stands_for_the_machines_own_of_its_version() -> None:
    advertise = advertiser(RtcSettings(public_ip="203.0.113.7"), "outside")
    assert advertise("10.0.0.4") == ["203.0.113.7"]
    assert advertise("127.0.0.1") == ["127.0.0.1"]
    assert advertise("fd00::2") == ["fd00::2"]


def test_there_may_be_a_public_address_of_each_version() -> None:
    advertise = advertiser(RtcSettings(public_ip="2001:db8::7, 203.0.113.7"), "outside")
    assert advertise("10.0.0.4") == ["203.0.113.7"]
    assert advertise("fd00::2") == ["2001:db8::7"]


@pytest.mark.parametrize("place", ["here", "inside"])
def test_a_viewer_in_a_private_network_is_told_the_machines_own_address_too(place: Place) -> None:
    assert advertiser(RtcSettings(public_ip="203.0.113.7"), place)("10.0.0.4") == ["203.0.113.7", "10.0.0.4"]
    assert advertiser(RtcSettings(), place)("10.0.0.4") == ["10.0.0.4"]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", "here"),
        ("::1", "here"),
        ("::ffff:127.0.0.1", "here"),
        ("192.168.3.4", "inside"),
        ("172.31.0.9", "inside"),
        ("::ffff:10.0.0.9", "inside"),
        ("fe80::1%eth0", "inside"),
        ("fd00::2", "inside"),
        ("203.0.113.9", "outside"),
        ("2001:db8::1", "outside"),
        ("172.32.0.9", "outside"),
        (None, "outside"),
        ("?", "outside"),
    ],
)
def test_where_a_viewer_is(address: str | None, place: str) -> None:
    assert place_of(address) == place


def test_secrets_are_not_shown() -> None:
    shown = repr(RtcSettings(turn_server="t:1", turn_secret="hush")) + repr(
        RtcSettings(turn_server="t:1", turn_username="u", turn_password="hush")
    )
    assert "hush" not in shown


def test_the_free_ports_of_the_range_are_counted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 27341))
        assert free_ports(RtcSettings(port_min=27340, port_max=27342)) == [27340, 27342]
    assert free_ports(RtcSettings()) == []
