"""Sends a session to a WHIP endpoint (RFC 9725): an offer by HTTP, then the packets as they are, DELETE at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
import structlog
from aiortc import (
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from av.packet import Packet
from av.stream import Stream
from yarl import URL

from pipeline.outputs.link import LinkError
from pipeline.outputs.tap import Place, Source
from server.rtc import private, private_ice
from server.rtc.heartbeat import Heartbeat
from server.rtc.ice_servers import configuration
from server.rtc.peer import VIDEO_CODECS, preferences
from server.rtc.settings import RtcSettings
from server.rtc.tracks import PacketTrack

log = structlog.get_logger(__name__)

HTTP_SECONDS = 10.0
GOODBYE_SECONDS = 3.0
GATHER_SECONDS = 6.0
LOOK_SECONDS = 0.5
MOST_REDIRECTS = 3
MOST_ANSWER = 64 * 1024  # bytes

_UNUSABLE = (ValueError, InternalError, InvalidAccessError, InvalidStateError, AssertionError, KeyError, IndexError)
"""What aiortc raises on an answer that it cannot use."""


@dataclass(frozen=True, slots=True)
class _Resource:
    """What the endpoint made: where it is to be deleted."""

    url: str
    headers: dict[str, str]


class WhipLink:
    """A Link. codec: "h264" or "vp8". allowed: whether an address may be called; asked of each that it is led to."""

    def __init__(self, url: str, token: str, codec: str, settings: RtcSettings, allowed: Callable[[str], bool]) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._codec = codec
        self._settings = settings
        self._allowed = allowed

    async def push(self, source: Source, connected: Callable[[], None]) -> None:
        client = _Client(source, self._codec, self._settings)
        timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
                offer = await client.offer()
                async with self._resource(http, offer) as answer:
                    await client.accept(answer)
                    await client.until_ended(connected)
        finally:
            await client.close()

    @asynccontextmanager
    async def _resource(self, http: aiohttp.ClientSession, offer: str) -> AsyncIterator[str]:
        """The answer to an offer; what the endpoint made for it is deleted afterwards."""
        answer, resource = await self._post(http, offer)
        try:
            yield answer
        finally:
            if resource is not None:
                await _delete(http, resource)

    async def _post(self, http: aiohttp.ClientSession, offer: str) -> tuple[str, _Resource | None]:
        url, headers = self._url, self._headers
        try:
            for _ in range(MOST_REDIRECTS + 1):
                async with http.post(
                    url,
                    data=offer.encode(),
                    headers={**headers, "Content-Type": "application/sdp", "Accept": "application/sdp"},
                    allow_redirects=False,
                ) as answer:
                    if answer.status not in (307, 308):
                        return await self._made(answer, url, headers)
                    target = self._next(url, answer.headers.get("Location", ""))
                    url, headers = target, _for(target, url, headers)
        except TimeoutError:
            raise LinkError("timeout", "The WHIP endpoint did not answer in time.") from None
        except aiohttp.ClientSSLError:
            raise LinkError("refused", "The certificate of the WHIP endpoint is not trusted.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise LinkError("unreachable", f"The WHIP endpoint cannot be reached ({type(error).__name__}).") from None
        raise LinkError("bad_answer", f"The WHIP endpoint sent on more than {MOST_REDIRECTS} times.")

    async def _made(
        self, answer: aiohttp.ClientResponse, url: str, headers: dict[str, str]
    ) -> tuple[str, _Resource | None]:
        if answer.status in (401, 403):
            raise LinkError("refused", f"The WHIP endpoint does not take the token (HTTP {answer.status}).", final=True)
        if answer.status != 201:
            final = answer.status in (404, 405, 406, 415)
            raise LinkError("refused", f"The WHIP endpoint answered HTTP {answer.status}.", final=final)
        body = await answer.content.read(MOST_ANSWER + 1)
        while len(body) <= MOST_ANSWER and (more := await answer.content.read(MOST_ANSWER)):
            body += more
        if len(body) > MOST_ANSWER:
            raise LinkError("bad_answer", "The WHIP endpoint's answer is too long.")
        try:
            sdp = body.decode()
        except UnicodeDecodeError:
            raise LinkError("bad_answer", "The WHIP endpoint's answer is no SDP.") from None
        location = answer.headers.get("Location")
        if not location:
            return sdp, None
        target = self._next(url, location)
        return sdp, _Resource(target, _for(target, url, headers))

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if not location or not self._allowed(target):
            raise LinkError(
                "refused",
                "The WHIP endpoint leads to an address that is not in outputs.allowed_hosts.",
                final=True,
            )
        return target


def _for(target: str, url: str, headers: dict[str, str]) -> dict[str, str]:
    """What goes on to where an address leads: the token to the same origin only."""
    return headers if URL(target).origin() == URL(url).origin() else {}


async def _delete(http: aiohttp.ClientSession, resource: _Resource) -> None:
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            async with http.delete(resource.url, headers=resource.headers, allow_redirects=False) as answer:
                log.debug("whip_deleted", status=answer.status)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        log.info("whip_not_deleted", error=type(error).__name__)


class _Client:
    """The sending peer. It takes its place in the session when the handshake is done: what it sends first is fresh."""

    def __init__(self, source: Source, codec: str, settings: RtcSettings) -> None:
        self._source = source
        self._place: Place | None = None
        self._ended = asyncio.Event()
        self._finished = False
        self._pc = RTCPeerConnection(configuration(settings, time.time()))
        self._connect = private.OwnedConnect(self._pc)
        self._pc.on("connectionstatechange", self._changed)
        self._settings = settings
        self._heartbeat = self._begin()
        self._add("audio", "audio/opus")
        self._add("video", VIDEO_CODECS[codec])

    async def offer(self) -> str:
        transport = self._pc.getTransceivers()[0].sender.transport.transport
        private_ice.watch_ice(transport, self._heard)
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self._pc.setLocalDescription(await self._pc.createOffer())
        except TimeoutError:
            raise LinkError("timeout", "STUN and TURN servers did not answer in time.") from None
        return str(self._pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except OperationError:
            raise LinkError(
                "codec_refused", "The WHIP endpoint does not take this server's codecs (video.codec).", final=True
            ) from None
        except _UNUSABLE:
            raise LinkError("bad_answer", "The WHIP endpoint's answer is no SDP that can be used.") from None
        self._heartbeat = self._begin()

    async def until_ended(self, connected: Callable[[], None]) -> None:
        """Until the session stops. Raises LinkError."""
        told = False
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_SECONDS)
            now = time.monotonic()
            if not told and self._pc.connectionState == "connected":
                told = True
                self._heartbeat.connected(now)
                connected()
            match self._heartbeat.look(now):
                case "never_connected":
                    raise LinkError("timeout", "No media connection with the WHIP server came about.")
                case "vanished":
                    raise LinkError("broken", "The WHIP server is not heard of any more.")
        if not self._finished:
            raise LinkError("broken", "The WHIP server closed the connection.")

    async def close(self) -> None:
        if self._place is not None:
            self._place.close()
        for transceiver in self._pc.getTransceivers():
            if transceiver.sender.track is not None:
                transceiver.sender.track.stop()
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._connect.close()
        except TimeoutError:
            log.error("whip_close_late")

    def _begin(self) -> Heartbeat:
        limits = self._settings
        return Heartbeat(time.monotonic(), connect=limits.connect_seconds, silence=limits.silence_seconds)

    def _add(self, kind: str, mime: str) -> None:
        track = PacketTrack(kind, self._video if kind == "video" else self._audio)
        track.on("ended", lambda: self._track_ended(track))
        transceiver = self._pc.addTransceiver(track, direction="sendonly")
        transceiver.setCodecPreferences(preferences(kind, mime))
        if kind == "video":
            private.watch_feedback(transceiver.sender, heard=self._heard, key_wanted=self._key_wanted)
        else:
            private.watch_feedback(transceiver.sender, heard=self._heard)

    async def _video(self) -> Packet[Stream]:
        return await self._joined().video()

    async def _audio(self) -> Packet[Stream]:
        return await self._joined().audio()

    def _joined(self) -> Place:
        if self._place is None:
            self._place = self._source.join()
        return self._place

    def _track_ended(self, track: PacketTrack) -> None:
        self._finished = self._finished or track.source_ended
        self._ended.set()

    def _changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._ended.set()

    def _heard(self) -> None:
        self._heartbeat.heard(time.monotonic())

    def _key_wanted(self) -> None:
        if self._place is not None:
            self._place.request_key()
