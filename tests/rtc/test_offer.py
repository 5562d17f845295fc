"""Offers: what is refused, with which code, and how the whole offer is answered."""

from __future__ import annotations

import re

import pytest

from server.rtc.offer import MAX_CANDIDATES, MAX_MESSAGE, BadOffer, complete_answer, read_fragment, read_offer

HEAD = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
TRANSPORT = [
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789012345678901",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    "a=setup:actpass",
]


def section(kind: str, mid: str, *extra: str, direction: str = "recvonly", transport: bool = True) -> list[str]:
    codec = {"audio": "111 opus/48000/2", "video": "96 VP8/90000"}[kind]
    return [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {codec.split()[0]}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a={direction}",
        "a=rtcp-mux",
        f"a=rtpmap:{codec}",
        *(TRANSPORT if transport else []),
        *extra,
    ]


DATA = [
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    "a=mid:d",
    *TRANSPORT,
    "a=sctp-port:5000",
]

DATA_2 = [line.replace("a=mid:d", "a=mid:e") for line in DATA]


def sdp(*sections: list[str], bundle: str | None = None) -> str:
    mids = re.findall(r"a=mid:(\S+)", "\n".join(line for block in sections for line in block))
    group = ["a=group:BUNDLE " + (" ".join(mids) if bundle is None else bundle)]
    return "\r\n".join([*HEAD, *group, *(line for block in sections for line in block)]) + "\r\n"


def without(text: str, start: str) -> str:
    return "\r\n".join(line for line in text.split("\r\n") if not line.startswith(start))


GOOD = sdp(section("audio", "0"), section("video", "1"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_sdp"),
        ("hello", "bad_sdp"),
        ('{"type": "offer"}', "bad_sdp"),
        ("v=0\r\n", "bad_sdp"),
        ("\r\n".join(HEAD), "no_media"),
        ("v=0\r\n" + "a=" + "x" * 70_000, "sdp_too_large"),
        (sdp(*[section("audio", str(i)) for i in range(9)]), "sdp_too_large"),
        (sdp(section("audio", "0", *["a=x:y"] * 600)), "sdp_too_large"),
        (sdp(section("video", "0", *[f"a=rtpmap:{i % 90} H264/90000" for i in range(200)])), "sdp_too_large"),
        (GOOD.replace("m=audio 9", "m=audio nine"), "bad_sdp"),
        (GOOD + "m=audio\r\n", "bad_sdp"),
        (GOOD.replace("opus/48000", "opus/fast"), "bad_sdp"),
        (GOOD + "a=fmtp:7 x=1\r\n", "bad_sdp"),
        (GOOD + "a=extmap:one uri\r\n", "bad_sdp"),
        (GOOD + "a=candidate:1 1\r\nno line\r\n", "bad_sdp"),
        (GOOD + "a=x:\x00\r\n", "bad_sdp"),
        (GOOD.replace("a=setup:actpass", "a=setup:maybe"), "bad_sdp"),
        (without(GOOD, "a=ice-ufrag"), "bad_sdp"),
        (without(GOOD, "a=ice-pwd"), "bad_sdp"),
        (without(GOOD, "a=fingerprint"), "bad_sdp"),
        (GOOD.replace("sha-256", "md5"), "bad_sdp"),
        (without(GOOD, "a=setup"), "bad_sdp"),
        (without(GOOD, "a=rtcp-mux"), "bad_sdp"),
        (without(GOOD, "a=mid"), "bad_sdp"),
        (GOOD.replace("a=mid:0", "a=mid:0 0"), "bad_sdp"),
        (GOOD.replace("a=mid:1", "a=mid:0"), "bad_sdp"),
        (sdp(DATA), "no_media"),
        (sdp(section("audio", "0", direction="sendonly")), "no_media"),
        (sdp(section("audio", "0", direction="inactive")), "no_media"),
        (without(GOOD, "a=group"), "no_bundle"),
        (sdp(section("audio", "0"), section("video", "1"), bundle="0"), "no_bundle"),
    ],
)
def test_what_is_refused(text: str, code: str) -> None:
    with pytest.raises(BadOffer) as refused:
        read_offer(text)
    assert refused.value.code == code
    assert str(refused.value).endswith((".", ")."))


def test_every_truncation_of_an_offer_is_refused_or_read_but_never_breaks() -> None:
    for end in range(len(GOOD)):
        try:
            read_offer(GOOD[:end])
        except BadOffer:
            continue


def test_sound_and_picture_are_played_in_the_offers_order() -> None:
    assert read_offer(GOOD).played == ["audio", "video"]
    assert read_offer(sdp(section("video", "v"), section("audio", "a"))).played == ["video", "audio"]
    assert read_offer(sdp(section("video", "v"))).played == ["video"]


def test_lines_may_end_without_a_carriage_return() -> None:
    assert read_offer(GOOD.replace("\r\n", "\n")).played == ["audio", "video"]


def test_a_microphone_is_not_listened_to() -> None:
    offer = read_offer(sdp(section("audio", "0", direction="sendrecv"), section("video", "1")))
    assert "a=sendrecv" not in offer.text
    assert offer.text.count("a=recvonly") == 2


def test_a_section_without_transport_lines_takes_those_of_its_bundle() -> None:
    offer = read_offer(sdp(section("audio", "0"), section("video", "1", transport=False)))
    assert offer.text.count("a=ice-ufrag:abcd") == 2
    assert offer.text.count("a=setup:actpass") == 2


def test_candidates_are_taken_out_and_counted() -> None:
    line = "a=candidate:1 1 udp 2130706431 192.0.2.{} 5000 typ host"
    offer = read_offer(sdp(section("audio", "0", *[line.format(i) for i in range(50)], "a=end-of-candidates")))
    assert len(offer.candidates) == MAX_CANDIDATES
    assert offer.candidates[0] == "candidate:1 1 udp 2130706431 192.0.2.0 5000 typ host"
    assert "candidate" not in offer.text


def test_the_answer_has_a_refused_section_in_the_place_of_each_that_is_not_played() -> None:
    text = sdp(
        DATA,
        section("audio", "0"),
        section("audio", "mic", direction="sendonly"),
        section("video", "1"),
        section("video", "2"),
    )
    offer = read_offer(text)
    assert offer.played == ["audio", "video"]
    assert "a=group:BUNDLE 0 1" in offer.text
    answer = complete_answer(
        offer, "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 5 P 111\r\na=mid:0\r\nm=video 5 P 96\r\na=mid:1\r\n"
    )
    assert re.findall(r"m=(\w+) (\d+)", answer) == [
        ("application", "0"),
        ("audio", "5"),
        ("audio", "0"),
        ("video", "5"),
        ("video", "0"),
    ]
    assert re.findall(r"a=mid:(\w+)", answer) == ["d", "0", "mic", "1", "2"]


def test_a_fragment_gives_its_candidates() -> None:
    candidate = "candidate:1 1 udp 1 192.0.2.1 5000 typ host"
    text = f"a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na={candidate}\r\n"
    assert read_fragment(text) == ("abcd", [candidate])
    assert read_fragment("") == ("", [])
    with pytest.raises(BadOffer):
        read_fragment("candidates, please")


def test_data_channels_are_taken_where_they_are_asked_for() -> None:
    whole = sdp(section("audio", "0"), DATA, section("video", "1"), DATA_2)
    plain = read_offer(whole)
    assert not any(section.data for section in plain.sections)
    assert "m=application" not in plain.text
    offer = read_offer(whole, data=True)
    assert [section.data for section in offer.sections] == [False, True, False, False]
    assert "a=group:BUNDLE 0 1 d\r\n" in offer.text  # what is played keeps the transport
    made = sdp(section("audio", "0"), [*DATA, "a=max-message-size:262144"], section("video", "1"))
    answer = complete_answer(offer, made)
    assert re.findall(r"m=(\w+) (\d+)", answer) == [
        ("audio", "9"),
        ("application", "9"),
        ("video", "9"),
        ("application", "0"),
    ]
    assert f"a=max-message-size:{MAX_MESSAGE}\r\n" in answer
    assert "262144" not in answer


@pytest.mark.parametrize(
    "data",
    [
        [line for line in DATA if not line.startswith("a=sctp-port")],
        [line.replace(":5000", ":0") for line in DATA],
        [line.replace(":5000", ":65536") for line in DATA],
        [line.replace("UDP/DTLS/SCTP", "TCP/DTLS/SCTP") for line in DATA],
        [line.replace("webrtc-datachannel", "other") for line in DATA],
        [line.replace("m=application 9", "m=application 0") for line in DATA],
    ],
    ids=["no_port", "port_0", "port_65536", "tcp", "other", "off"],
)
def test_data_channels_of_another_kind_are_refused_in_the_answer(data: list[str]) -> None:
    offer = read_offer(sdp(section("audio", "0"), data), data=True)
    assert offer.played == ["audio"]
    assert "m=application" not in offer.text


def test_data_channels_alone_are_no_reason_to_connect() -> None:
    with pytest.raises(BadOffer) as caught:
        read_offer(sdp(DATA), data=True)
    assert caught.value.code == "no_media"
    with pytest.raises(BadOffer) as caught:
        read_offer(sdp(section("audio", "0"), [*DATA, "a=max-message-size:many"]), data=True)
    assert caught.value.code == "bad_sdp"
