"""Tells from a file's first bytes which of the allowed containers it is; its name counts nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from avatars.errors import AvatarError

_HEAD = 4096
_JPEG_SCAN = 4 << 20  # bytes searched for a JPEG's frame header, behind its previews and colour profiles


@dataclass(frozen=True, slots=True)
class Kind:
    """name: what to call it. demuxer: the one FFmpeg demuxer it may be opened with, None for a still picture."""

    name: str
    demuxer: str | None


def sniff(path: Path) -> Kind:
    """The container of a file. Raises AvatarError: empty, unreadable, unsupported.

    Only self-contained formats are known. Playlists and others that name further files or addresses (HLS, DASH,
    concat, SDP, SVG, ...) are not, so FFmpeg is never left to guess a demuxer that would open them.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise AvatarError("empty")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        brand = head[8:12]
        if brand in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"):
            raise AvatarError("unsupported", "This picture format is not supported. Save it as JPEG or PNG.")
        return Kind("mov" if brand == b"qt  " else "mp4", "mov")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return Kind("webm" if b"webm" in head[:64] else "mkv", "matroska")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Kind("avi", "avi")
    if head[:3] == b"\xff\xd8\xff":
        return Kind("jpeg", None)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind("png", None)
    if head[:4] == b"RIFF" or head[:4] in (b"OggS", b"GIF8", b"fLaC") or head[:3] == b"ID3":
        raise AvatarError("unsupported")
    raise AvatarError("unreadable")


def picture_size(path: Path, kind: Kind) -> tuple[int, int]:
    """Width and height that a JPEG or PNG declares, before anything is decoded. Raises AvatarError("unreadable")."""
    with path.open("rb") as file:
        data = file.read(_JPEG_SCAN)
    if kind.name == "png":
        if len(data) < 24 or data[12:16] != b"IHDR":
            raise AvatarError("unreadable")
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # ITU T.81, B.2.2: frame headers
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(width), int(height)
        else:
            at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    raise AvatarError("unreadable")
