"""A viewer's SDP offer: checked, cut down to what is played, and its answer made whole again."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from aiortc.sdp import SessionDescription

MAX_CHARS = 64 * 1024  # Chromium's offer with every codec it has: 7 kB
MAX_SECTIONS = 8
MAX_LINES = 512  # a section; aiortc's parser is quadratic in them
MAX_CODECS = 128
MAX_CANDIDATES = 32
MAX_MESSAGE = 64 * 1024  # bytes of a message in a data channel; the answer tells the viewer

_MEDIA = re.compile(r"m=(audio|video|application|text|image|message) (\d{1,5}) ([A-Z/]{1,32}) ([!-~]+(?: [!-~]+)*)")
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~{}-]{1,32}")
_ICE_WORD = re.compile(r"[!-~]{4,256}")
_FINGERPRINT = re.compile(r"(sha-256|sha-384|sha-512) [0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31,63}")
_SCTP_PORT = re.compile(r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}")  # a little less than all there are
_MAX_MESSAGE = re.compile(r"a=max-message-size:\d+")
_TRANSPORT = ("ice-ufrag", "ice-pwd", "fingerprint", "setup")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

_UNPARSABLE = (ValueError, AssertionError, KeyError, IndexError, TypeError, AttributeError, StopIteration, RuntimeError)
"""What aiortc's parser raises on text that is not quite SDP."""

Kind = Literal["audio", "video"]


class BadOffer(Exception):
    """An offer that cannot be answered. `code` is stable: bad_sdp, sdp_too_large, no_media, no_bundle,
    codec_unsupported. `understood`: it is SDP, but nothing this server can do (HTTP 422, not 400).
    """

    def __init__(self, code: str, message: str, *, understood: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.understood = understood


@dataclass(frozen=True, slots=True)
class Section:
    """One m= section of the offer. kind and proto as in its m= line; played: this server sends it; heard: and takes
    what the viewer sends in it, a microphone's sound; data: it carries data channels, and they are taken.
    """

    kind: str
    proto: str
    format: str
    mid: str
    played: bool
    heard: bool = False
    data: bool = False

    @property
    def taken(self) -> bool:
        """Whether the answer accepts it."""
        return self.played or self.data


@dataclass(frozen=True, slots=True)
class Offer:
    """A checked offer.

    text: the taken sections only, as recvonly (with a microphone sendrecv) and without candidates: for aiortc.
    played: their kinds in the order of the sections. candidates: the viewer's, each as "candidate:…".
    """

    text: str
    sections: tuple[Section, ...]
    candidates: tuple[str, ...]
    ufrag: str

    @property
    def played(self) -> list[Kind]:
        return ["audio" if section.kind == "audio" else "video" for section in self.sections if section.played]

    @property
    def microphone(self) -> bool:
        return any(section.heard for section in self.sections)


def read_offer(sdp: str, *, listen: bool = False, data: bool = False) -> Offer:
    """Check an offer and choose what to play: the first audio and the first video section that receive.

    listen: take the microphone, if the played audio section sends, too. Without it that section is answered as
    sendonly, so that no packet of it comes; one that only sends is refused. data: take the first section of data
    channels. Further sections are refused in the answer, the rest goes on. Raises BadOffer.
    """
    if len(sdp) > MAX_CHARS:
        raise BadOffer("sdp_too_large", f"The offer is larger than {MAX_CHARS // 1024} kB.")
    head, blocks = _split(sdp)
    if not head or head[0] != "v=0" or not any(line.startswith("o=") for line in head):
        raise BadOffer("bad_sdp", "The offer is not SDP: it does not begin with v=0 and an o= line.")
    if not blocks:
        raise BadOffer("no_media", "The offer has no m= section: add transceivers that receive audio and video.")
    if len(blocks) > MAX_SECTIONS or any(len(block) > MAX_LINES for block in (head, *blocks)):
        raise BadOffer("sdp_too_large", f"The offer has more than {MAX_SECTIONS} sections or {MAX_LINES} lines in one.")

    tagged = _tagged(head, blocks)
    sections: list[Section] = []
    kept: list[list[str]] = []
    candidates: list[str] = []
    ufrag = ""
    for block in blocks:
        section = _section(block, {section.kind for section in sections if section.taken}, listen, data)
        sections.append(section)
        candidates += [line[2:] for line in block if line.startswith("a=candidate:")]
        if section.taken:
            block = _with_transport(head, block, tagged)
            if section.played:
                ufrag = ufrag or _check_transport(head, block)
            kept.append(_directed(block, None if section.data else "sendrecv" if section.heard else "recvonly"))
    if any(count > 1 for count in Counter(section.mid for section in sections).values()):
        raise BadOffer("bad_sdp", "Two sections of the offer have the same a=mid.")
    # What is played comes first: aiortc's first transceiver then keeps the transport that all share.
    mids = [section.mid for section in sorted(sections, key=lambda each: each.data) if section.taken]
    if not any(section.played for section in sections):
        raise BadOffer(
            "no_media", "The offer receives neither sound nor picture: add recvonly transceivers.", understood=True
        )
    if len(mids) > 1 and not set(mids) <= _bundled(head):
        raise BadOffer("no_bundle", "The offer must bundle its sections (bundlePolicy max-bundle).", understood=True)

    lines = [line for line in head if not line.startswith(("a=group:", "a=msid-semantic"))]
    lines.append("a=group:BUNDLE " + " ".join(mids))
    lines += [line for block in kept for line in block]
    text = "\r\n".join(lines) + "\r\n"
    try:
        parsed = SessionDescription.parse(text)
        for media in parsed.media:
            if media.dtls is None or not media.dtls.fingerprints or media.ice is None or not media.ice.password:
                raise ValueError("no DTLS or ICE")
    except _UNPARSABLE as error:
        raise BadOffer("bad_sdp", "The offer is not well-formed SDP.") from error
    return Offer(text, tuple(sections), tuple(candidates[:MAX_CANDIDATES]), ufrag)


def complete_answer(offer: Offer, answer: str) -> str:
    """aiortc's answer to `offer.text` as the answer to the whole offer: refused sections stand in their places."""
    head, blocks = _split(answer)
    answered = iter(blocks)
    lines = list(head)
    for section in offer.sections:
        if section.data:
            lines += [_MAX_MESSAGE.sub(f"a=max-message-size:{MAX_MESSAGE}", line) for line in next(answered)]
        elif section.taken:
            lines += next(answered)
        else:
            lines += [
                f"m={section.kind} 0 {section.proto} {section.format}",
                "c=IN IP4 0.0.0.0",
                f"a=mid:{section.mid}",
            ]
            lines += [] if section.kind == "application" else ["a=inactive"]
    return "\r\n".join(lines) + "\r\n"


def read_fragment(text: str) -> tuple[str, list[str]]:
    """A trickle fragment (RFC 8840, section 9): the ICE user fragment ("" if it has none) and the candidates.

    Raises BadOffer (bad_sdp, sdp_too_large).
    """
    if len(text) > MAX_CHARS:
        raise BadOffer("sdp_too_large", f"The fragment is larger than {MAX_CHARS // 1024} kB.")
    ufrag = ""
    candidates: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line:
            continue
        if not re.match(r"[a-z]=", line):
            raise BadOffer("bad_sdp", "The fragment is not an SDP fragment.")
        if line.startswith("a=ice-ufrag:"):
            ufrag = line.partition(":")[2].strip()
        elif line.startswith("a=candidate:"):
            candidates.append(line[2:])
    return ufrag, candidates


def _split(sdp: str) -> tuple[list[str], list[list[str]]]:
    """The session's lines, and the lines of each m= section. Raises BadOffer on a line that is no SDP line."""
    head: list[str] = []
    blocks: list[list[str]] = []
    for raw in sdp.replace("\r\n", "\n").split("\n"):
        line = raw.rstrip(" ")
        if not line:
            continue
        if not re.match(r"[a-z]=", line) or not line.isprintable():
            raise BadOffer("bad_sdp", "The offer is not SDP: a line does not have the form x=….")
        if line.startswith("m="):
            blocks.append([line])
        else:
            (blocks[-1] if blocks else head).append(line)
    return head, blocks


def _section(block: list[str], taken: set[str], listen: bool, data: bool) -> Section:
    match = _MEDIA.fullmatch(block[0])
    if match is None:
        raise BadOffer("bad_sdp", "An m= line of the offer is malformed.")
    kind, port, proto, formats = match.groups()
    mid = _attribute(block, "mid") or ""
    if not _MID.fullmatch(mid):
        raise BadOffer("bad_sdp", "Every section of the offer needs an a=mid.")
    direction = next((line[2:] for line in block if line[2:] in _DIRECTIONS), "sendrecv")
    wanted = int(port) != 0 or "a=bundle-only" in block
    played = (
        kind in ("audio", "video")
        and kind not in taken
        and wanted
        and direction in ("recvonly", "sendrecv")
        and proto.endswith("RTP/SAVPF")
    )
    if played and sum(line.startswith("a=rtpmap:") for line in block) > MAX_CODECS:
        raise BadOffer("sdp_too_large", f"A section of the offer has more than {MAX_CODECS} codecs.")
    heard = listen and played and kind == "audio" and direction == "sendrecv"
    channels = (
        data
        and kind == "application"
        and kind not in taken
        and wanted
        and (proto, formats) == ("UDP/DTLS/SCTP", "webrtc-datachannel")
        and _SCTP_PORT.fullmatch(_attribute(block, "sctp-port") or "") is not None
    )
    return Section(kind, proto, formats.split()[0], mid, played, heard, channels)


def _tagged(head: list[str], blocks: list[list[str]]) -> list[str]:
    """The section whose transport the bundle uses (RFC 8843, section 7.1): the first that the group names."""
    first = (_attribute(head, "group") or "").removeprefix("BUNDLE").split()[:1]
    return next((block for block in blocks if [_attribute(block, "mid")] == first), [])


def _with_transport(head: list[str], block: list[str], tagged: list[str]) -> list[str]:
    """The section with the bundle's transport lines where it leaves them out, as a bundle-only one may."""
    missing = [name for name in _TRANSPORT if _attribute(block, name) is None and _attribute(head, name) is None]
    return block + [line for line in tagged if line.startswith(tuple(f"a={name}:" for name in missing))]


def _check_transport(head: list[str], block: list[str]) -> str:
    """The section's ICE user fragment; its credentials, fingerprint and rtcp-mux are there."""
    ufrag = _attribute(block, "ice-ufrag") or _attribute(head, "ice-ufrag") or ""
    password = _attribute(block, "ice-pwd") or _attribute(head, "ice-pwd") or ""
    if not _ICE_WORD.fullmatch(ufrag) or not _ICE_WORD.fullmatch(password):
        raise BadOffer("bad_sdp", "The offer has no usable a=ice-ufrag and a=ice-pwd.")
    fingerprint = _attribute(block, "fingerprint") or _attribute(head, "fingerprint") or ""
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise BadOffer("bad_sdp", "The offer has no usable a=fingerprint (sha-256, sha-384 or sha-512).")
    if "a=rtcp-mux" not in block:
        raise BadOffer("bad_sdp", "The offer must multiplex RTCP (a=rtcp-mux).", understood=True)
    return ufrag


def _attribute(lines: list[str], name: str) -> str | None:
    prefix = f"a={name}:"
    return next((line[len(prefix) :].strip() for line in lines if line.startswith(prefix)), None)


def _bundled(head: list[str]) -> set[str]:
    return set((_attribute(head, "group") or "").removeprefix("BUNDLE").split())


def _directed(block: list[str], direction: str | None) -> list[str]:
    lines = [
        line
        for line in block
        if line[2:] not in _DIRECTIONS and not line.startswith(("a=candidate:", "a=end-of-candidates", "a=bundle-only"))
    ]
    return lines if direction is None else [*lines, f"a={direction}"]
