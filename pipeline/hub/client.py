"""A model hub over HTTP, as Hugging Face's is: what it says of a file, and the file's bytes from anywhere on."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

BLOCK = 1 << 20
REVISION = "main"
_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}
_CHANGES_NOTHING = {400, 401, 403, 404, 405, 410, 451}  # asking again gives the same
_WORDS = {
    401: "the hub wants a login for it: set HF_TOKEN",
    403: "the hub does not let you have it: set HF_TOKEN, and accept its licence on its page",
    404: "the hub has no such file",
}


class Refused(Exception):
    """The hub does not give the file, now or later; str() says why."""


class Interrupted(Exception):
    """The hub did not give the file this time; str() says why."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a connection, between two pieces of data, and before each further attempt that brings nothing."""

    connect: float = 20.0
    silence: float = 60.0
    pauses: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Digest:
    """kind: "sha256" of the content, or "git": the id of a git blob, which is what a hub has of small files."""

    kind: str
    value: str

    def of(self, path: Path, tell: Callable[[int], None] = lambda _: None) -> str:
        """The digest of this kind of a file. tell: told how many bytes are read."""
        if self.kind == "git":
            hashed = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        else:
            hashed = hashlib.sha256()
        done = 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                hashed.update(block)
                done += len(block)
                tell(done)
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Facts:
    """size: bytes, None where the hub does not say; digest likewise."""

    size: int | None
    digest: Digest | None


class Hub:
    """One hub. A context manager. token: sent to the hub's own host only, never where it redirects to."""

    def __init__(self, endpoint: str, token: str, patience: Patience) -> None:
        """Raises ValueError when `endpoint` is no http(s) address."""
        self.endpoint = URL(endpoint.rstrip("/"))
        if self.endpoint.scheme not in ("http", "https") or not self.endpoint.host:
            raise ValueError(f"{endpoint!r} is not an address like https://huggingface.co")
        self.patience = patience
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Hub:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self.patience.connect, sock_read=self.patience.silence)
        # A proxy from the environment is honoured, but not for this machine itself.
        self._session = aiohttp.ClientSession(timeout=limits, trust_env=not _loopback(self.endpoint.host or ""))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def facts(self, repo: str, path: str) -> Facts:
        """What the hub says of a file, from asking for its first byte. Raises Refused, Interrupted, ClientError."""
        async with self._answer(repo, path, "bytes=0-0") as (answer, heads):
            size = _size(answer)
            digest = None
            for head in heads:
                size = _number(head.get("X-Linked-Size")) or size
                # The last host's own ETag may be anything, e.g. an MD5: a hash it is only by its length.
                digest = digest or declared(head.get("X-Linked-ETag") or head.get("ETag", ""))
            return Facts(size, digest)

    @asynccontextmanager
    async def bytes_from(self, repo: str, path: str, start: int) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """(where the bytes begin: `start`, or 0 from a hub that cannot resume; the bytes in pieces).

        Raises Refused, Interrupted, ClientError, TimeoutError.
        """
        async with self._answer(repo, path, f"bytes={start}-" if start else "") as (answer, _):
            if answer.status == 206 and _first(answer) != start:
                raise Interrupted("the hub gave another part of the file")
            yield start if answer.status == 206 else 0, answer.content.iter_chunked(BLOCK)

    @asynccontextmanager
    async def _answer(
        self, repo: str, path: str, span: str
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, list[Mapping[str, str]]]]:
        """The final answer, and the headers of all answers on the way to it."""
        assert self._session is not None
        url = self.endpoint / repo / "resolve" / REVISION / path
        heads: list[Mapping[str, str]] = []
        for _ in range(_REDIRECTS + 1):
            headers = {"Accept-Encoding": "identity"}  # lengths and ranges of the file itself
            if span:
                headers["Range"] = span
            if self._token and url.origin() == self.endpoint.origin():
                headers["Authorization"] = f"Bearer {self._token}"
            async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
                heads.append(answer.headers)
                if answer.status in _MOVED:
                    url = self._next(url, answer.headers.get("Location", ""))
                    continue
                if answer.status not in (200, 206):
                    words = _WORDS.get(answer.status, f"the hub answered {answer.status} {answer.reason}")
                    raise Refused(words) if answer.status in _CHANGES_NOTHING else Interrupted(words)
                yield answer, heads
                return
        raise Refused("the hub redirects without end")

    @staticmethod
    def _next(url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location))
        except ValueError:
            target = URL()
        if not location or target.scheme not in ("http", "https") or not target.host:
            raise Refused("the hub redirects to nowhere")
        if url.scheme == "https" and target.scheme == "http":
            raise Refused(f"the hub redirects to {target.host} without encryption")
        return target


def declared(etag: str) -> Digest | None:
    """The digest in an ETag of the hub: 64 hexadecimal digits, a file of LFS; 40, a file of git; else none."""
    value = etag.removeprefix("W/").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", value):
        return Digest("sha256", value)
    return Digest("git", value) if re.fullmatch(r"[0-9a-f]{40}", value) else None


def _size(answer: aiohttp.ClientResponse) -> int | None:
    if answer.status == 206:
        return _number(answer.headers.get("Content-Range", "").rpartition("/")[2])
    return _number(answer.headers.get("Content-Length"))


def _first(answer: aiohttp.ClientResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
