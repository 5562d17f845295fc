"""Where outputs may go, and what is shown of it."""

from __future__ import annotations

import pytest

from server.recorder.output import LONGEST_PAUSE, pause
from server.recorder.targets import BadTarget, Kind, read_target, whip_allowed


@pytest.mark.parametrize(
    ("kind", "url", "host", "port", "shown"),
    [
        ("rtmp", "rtmp://Live.Example/app/key", "live.example", 1935, "rtmp://live.example:1935/app/…"),
        (
            "rtmp",
            "rtmps://a.rtmps.example:443/live2/ab-cd?x=1",
            "a.rtmps.example",
            443,
            "rtmps://a.rtmps.example:443/live2/…",
        ),
        ("rtmp", "rtmp://10.0.0.7/app?key=1", "10.0.0.7", 1935, "rtmp://10.0.0.7:1935/…"),
        ("whip", "https://[2001:db8::1]:8443/whip/secret", "[2001:db8::1]", 8443, "https://[2001:db8::1]:8443/whip/…"),
        ("whip", "http://h", "h", 80, "http://h:80/"),
        ("whip", "http://h/", "h", 80, "http://h:80/"),
        ("rtmp", "rtmp://h/KEYSECRET", "h", 1935, "rtmp://h:1935/…"),
        ("rtmp", "rtmp://h/KEYSECRET/", "h", 1935, "rtmp://h:1935/…"),
        ("whip", "https://h/secret?x=1", "h", 443, "https://h:443/…"),
    ],
)
def test_addresses_that_are_taken(kind: Kind, url: str, host: str, port: int, shown: str) -> None:
    target = read_target(url, kind)
    assert (target.host, target.port, target.shown, target.url) == (host, port, shown, url)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("rtmp", "http://h/app/key"),
        ("rtmp", "file:///etc/passwd"),
        ("rtmp", "rtmp://h"),
        ("rtmp", "rtmp://h/"),
        ("rtmp", "rtmp://h:99999/a/b"),
        ("rtmp", "rtmp://h:0/a/b"),
        ("rtmp", "rtmp://user:pass@h/a/b"),
        ("rtmp", "rtmp://allowed\\@evil/a/b"),
        ("rtmp", "rtmp://h/a|[f=mpegts]file:x"),
        ("rtmp", "rtmp://h/a b"),
        ("rtmp", "rtmp://h/a/b\n"),
        ("whip", "https://h/x#y"),
        ("whip", "HTTPS://h/x"),
        ("whip", "rtmp://h/a/b"),
        ("whip", "//h/x"),
        ("whip", "https://h\u0430/x"),
        ("whip", "https://-h/x"),
    ],
)
def test_addresses_that_are_not(kind: Kind, url: str) -> None:
    with pytest.raises(BadTarget):
        read_target(url, kind)


def test_only_named_hosts_are_allowed() -> None:
    hosts = ("Live.example", "10.0.0.7:1935", "[::1]")
    assert read_target("rtmp://live.example:7777/a/b", "rtmp").allowed(hosts), "any port where none is named"
    assert read_target("rtmp://10.0.0.7/a/b", "rtmp").allowed(hosts)
    assert not read_target("rtmp://10.0.0.7:22/a/b", "rtmp").allowed(hosts)
    assert read_target("https://[::1]/x", "whip").allowed(hosts)
    assert not read_target("https://live.example.evil/x", "whip").allowed(hosts)
    assert not read_target("https://sub.live.example/x", "whip").allowed(hosts)
    assert whip_allowed("https://live.example/next", hosts)
    assert not whip_allowed("http://169.254.169.254/latest", hosts)
    assert not whip_allowed("file:///etc/passwd", hosts)


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause(failures, 0.5) for failures in range(1, 9)]
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pause(1, 0) == 0.75
    assert pause(1, 1) == 1.25
