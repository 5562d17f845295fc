"""One viewer's WebRTC connection: its offer answered, its packets sent, its feedback passed on, its end noticed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from aiortc import (
    MediaStreamTrack,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import candidate_from_sdp
from aiortc.stats import RTCOutboundRtpStreamStats, RTCRemoteInboundRtpStreamStats
from av.packet import Packet
from av.stream import Stream

from pipeline.session import SessionClosed
from server.rtc import private, private_ice
from server.rtc.addresses import Place, advertiser, to_bind
from server.rtc.data_channel import ChannelSink, DataChannel
from server.rtc.heartbeat import Heartbeat
from server.rtc.ice_servers import configuration
from server.rtc.media_port import MediaPorts
from server.rtc.microphone import Microphone, SoundSink
from server.rtc.offer import MAX_CANDIDATES, BadOffer, Offer, complete_answer, read_offer
from server.rtc.settings import RtcSettings
from server.rtc.source import MediaSource, Viewer
from server.rtc.tracks import PacketTrack

log = structlog.get_logger(__name__)

State = Literal["new", "connecting", "connected", "closed"]
"""new: no offer yet. connecting: answered, the handshake is under way. connected: media flows."""

CLOSE_SECONDS = 3.0
SERVERS_SECONDS = 1.5  # for STUN and TURN servers to answer, while the viewer waits for its answer

VIDEO_CODECS = {"h264": "video/H264", "vp8": "video/VP8"}


@dataclass(frozen=True, slots=True)
class PeerStats:
    """A viewer's connection in figures. bytes and packets: sent, payload only. rtt in seconds, loss 0..1 of the last
    report's interval (both the worst of sound and picture), estimate in bit/s; None: not known yet.
    """

    state: State
    seconds: float
    bytes: int
    packets: int
    rtt: float | None
    loss: float | None
    packets_lost: int
    estimate: int | None
    keys_wanted: int


class Peer:
    """One connection, from its offer to its end. `answer` once; `close` any number of times.

    codec: of the session's picture, "h264" or "vp8". ports: the server's sockets. microphone: gives the place for the
    viewer's sound, where the offer has a microphone. talk: gives who talks in the first data channel that the viewer
    opens, where the offer (checked with `data`) has any. place: where the viewer signals from. ended: called (on the
    event loop, at most once) when the connection ended by itself; `reason` then says why, and the owner closes it.
    first_picture: told the seconds from here to the first picture that is sent.
    """

    def __init__(
        self,
        source: MediaSource,
        codec: str,
        settings: RtcSettings,
        ports: MediaPorts,
        *,
        place: Place = "outside",
        microphone: Callable[[], SoundSink] | None = None,
        talk: Callable[[DataChannel], ChannelSink] | None = None,
        ended: Callable[[], None] = lambda: None,
        first_picture: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_microphone = microphone
        self._microphone: Microphone | None = None
        self._talk = talk
        self._channel: DataChannel | None = None
        self._source = source
        self._codec = codec
        self._settings = settings
        self._ports = ports
        self._place = place
        self._ended = ended
        self._first_picture: Callable[[float], None] | None = first_picture
        self._clock = clock
        self._begun = clock()
        self._viewer: Viewer | None = None
        self._heartbeat = Heartbeat(self._begun, connect=settings.connect_seconds, silence=settings.silence_seconds)
        self._senders: list[RTCRtpSender] = []
        self._candidates_left = MAX_CANDIDATES
        self._closing: asyncio.Task[None] | None = None
        self._answering = asyncio.Lock()
        self._estimate: int | None = None
        self._keys_wanted = 0
        self._pc = RTCPeerConnection(configuration(settings, time.time()))
        self._connect = private.OwnedConnect(self._pc)
        self._pc.on("connectionstatechange", self._state_changed)
        self._pc.on("track", self._track_offered)
        self._pc.on("datachannel", self._channel_opened)
        self.offer: Offer | None = None
        self.answered = ""
        self.state: State = "new"
        self.reason = ""

    # -- signalling ---------------------------------------------------------------------------------------------

    async def answer(self, sdp: str | Offer) -> str:
        """The answer to an offer, with this machine's candidates; the handshake starts at once.

        Raises BadOffer, private_ice.NoPortError and NoRelayError, SessionClosed when it is closed meanwhile.
        """
        offer = sdp if isinstance(sdp, Offer) else read_offer(sdp)
        async with self._answering:  # what is bound here after the sockets were closed would stay
            answer = await self._answer(offer)
        if self._closing is not None:
            raise SessionClosed("This viewer's connection was closed while it was made.")
        return answer

    async def _answer(self, offer: Offer) -> str:
        if self._closing is not None:
            raise SessionClosed("This viewer's connection is closed.")
        self.offer = offer
        # In the offer's order: aiortc takes the bundle's first section for the transport of the first transceiver.
        for kind in offer.played:
            self._add(kind)
        transport = self._transport.transport
        private_ice.watch_ice(transport, self._heard)
        private_ice.gather_with(
            transport,
            addresses=lambda own: to_bind(self._settings, own, self._place),
            ports=self._ports,
            advertise=advertiser(self._settings, self._place),
            relay_only=self._settings.relay_only,
            limit=SERVERS_SECONDS,
        )
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(offer.text, "offer"))
        except OperationError as error:
            raise BadOffer(
                "codec_unsupported",
                f"The offer must be able to receive {self._codec.upper()} video and Opus audio.",
                understood=True,
            ) from error
        except (ValueError, InternalError, InvalidAccessError, InvalidStateError) as error:
            raise BadOffer("bad_sdp", f"The offer cannot be answered: {error}") from error
        if self._pc.sctp is not None:
            private.bound_data(self._pc.sctp, lambda: self._end("bad_data"))
        for candidate in offer.candidates:
            await self.add_candidate(candidate)
        await self._pc.setLocalDescription()
        if self._closing is None:
            self.state = "connecting"
        self.answered = complete_answer(offer, self._pc.localDescription.sdp)
        return self.answered

    async def add_candidate(self, candidate: str) -> None:
        """A trickled candidate, as "candidate:…", after the offer; "" (no more come) is taken and changes nothing.

        Not needed by a viewer that can reach this machine: its address is learnt from its first packet. Names
        (mDNS) and TCP are passed over: a name costs a multicast socket and up to seconds, and the viewer's own
        packets show its address sooner. The end of candidates is not passed on either, as aioice then gives up
        before they arrive. Raises BadOffer (bad_sdp) when it is no candidate.
        """
        text = candidate.removeprefix("a=").removeprefix("candidate:").strip()
        if not text or self.offer is None or self.state == "closed":
            return
        try:
            parsed = candidate_from_sdp(text)
        except (ValueError, AssertionError, IndexError) as error:
            raise BadOffer("bad_sdp", "This is not an ICE candidate.") from error
        if parsed.protocol.lower() != "udp" or parsed.component != 1 or not re.fullmatch(r"[0-9a-fA-F.:]+", parsed.ip):
            return
        if self._candidates_left and 0 < parsed.port < 65536:
            self._candidates_left -= 1
            await self._transport.transport.addRemoteCandidate(parsed)

    # -- life ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """To be called about twice a second: ends a connection that never came about or whose viewer vanished."""
        verdict = self._heartbeat.look(self._clock())
        if verdict is not None:
            self._end(verdict)

    async def stats(self) -> PeerStats:
        sent = [report for sender in self._senders for report in (await sender.getStats()).values()]
        out = [report for report in sent if isinstance(report, RTCOutboundRtpStreamStats)]
        back = [report for report in sent if isinstance(report, RTCRemoteInboundRtpStreamStats)]
        return PeerStats(
            state=self.state,
            seconds=self._clock() - self._begun,
            bytes=sum(report.bytesSent for report in out),
            packets=sum(report.packetsSent for report in out),
            rtt=max((report.roundTripTime for report in back if report.roundTripTime is not None), default=None),
            loss=max((report.fractionLost / 256 for report in back), default=None),
            packets_lost=sum(report.packetsLost for report in back),
            estimate=self._estimate,
            keys_wanted=self._keys_wanted,
        )

    async def close(self, reason: str = "closed") -> None:
        """Free everything: sockets, tasks, the place in the session. Takes at most CLOSE_SECONDS."""
        if self._closing is None:
            self.reason = self.reason or reason
            self._closing = asyncio.create_task(self._close(), name="peer-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.state = "closed"
        if self._viewer is not None:
            self._viewer.close()
        for sender in self._senders:
            if sender.track is not None:
                sender.track.stop()
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._answering:
                if self._channel is not None:
                    await self._channel.close(self.reason)
                if self._microphone is not None:
                    await self._microphone.close()
                await self._connect.close()
        except TimeoutError:
            log.error("peer_close_timeout", reason=self.reason)

    def _end(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self._ended()

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and self.state != "closed":
            self.state = "connected"
            self._heartbeat.connected(self._clock())
        elif state == "failed":
            self._end("failed")
        elif state == "closed":
            self._end("left")

    @property
    def _transport(self) -> RTCDtlsTransport:
        """The one that sound and picture share."""
        return self._pc.getTransceivers()[0].receiver.transport

    # -- media --------------------------------------------------------------------------------------------------

    def _add(self, kind: Literal["audio", "video"]) -> None:
        if kind == "video":
            track = PacketTrack("video", self._video)
            mime = VIDEO_CODECS[self._codec]
        else:
            track = PacketTrack("audio", self._audio)
            mime = "audio/opus"
        track.on("ended", lambda: self._track_ended(track))
        sender = self._pc.addTrack(track)
        self._senders.append(sender)
        transceiver = self._pc.getTransceivers()[-1]
        # Before setRemoteDescription: aiortc ignores later preferences.
        transceiver.setCodecPreferences(preferences(kind, mime))
        if kind == "video":
            private.watch_feedback(
                sender,
                heard=self._heard,
                key_wanted=self._key_wanted,
                estimate=self._estimate_arrived,
            )
        else:
            private.watch_feedback(sender, heard=self._heard)

    def _track_offered(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._open_microphone is not None and self._microphone is None:
            self._microphone = Microphone(track, self._open_microphone())

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if self._talk is None or self._channel is not None or self._closing is not None:
            channel.close()
        else:
            self._channel = DataChannel(channel, self._talk, self._end, clock=self._clock)

    async def _video(self) -> Packet[Stream]:
        packet = await self._joined().video()
        if self._first_picture is not None:
            self._first_picture(self._clock() - self._begun)
            self._first_picture = None
        return packet

    async def _audio(self) -> Packet[Stream]:
        return await self._joined().audio()

    def _joined(self) -> Viewer:
        """The place in the session, taken when the handshake is done: the first packet is fresh and a keyframe."""
        if self._viewer is None:
            self._viewer = self._source.join()
        return self._viewer

    def _track_ended(self, track: PacketTrack) -> None:
        """Also when aiortc's sender gave up: because the viewer closed the transport, or on an error that it logs."""
        if track.source_ended:
            self._end("session_ended")
        elif self._transport.state == "closed":
            self._end("left")
        else:
            self._end("sender_stopped")

    def _heard(self) -> None:
        self._heartbeat.heard(self._clock())

    def _key_wanted(self) -> None:
        self._keys_wanted += 1
        if self._viewer is not None:
            self._viewer.request_key()

    def _estimate_arrived(self, bitrate: int) -> None:
        self._estimate = bitrate
        if self._viewer is not None:
            self._viewer.report_estimate(bitrate)


def preferences(kind: str, mime: str) -> list[RTCRtpCodecCapability]:
    """The session's codec alone (H.264: constrained baseline first, as it is encoded), with retransmission."""
    able = RTCRtpSender.getCapabilities(kind).codecs
    chosen = [codec for codec in able if codec.mimeType == mime]
    chosen.sort(key=lambda codec: str(codec.parameters.get("profile-level-id", "")).lower(), reverse=True)
    return chosen + [codec for codec in able if codec.mimeType == "video/rtx"]
