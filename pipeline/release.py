"""The driver of a session's clock: on each tick it sends a picture and its sound, and has the next picture made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import structlog
from av.packet import Packet
from av.stream import Stream

from pipeline import audio_encoder, video_encoder
from pipeline.audio_encoder import PACKET_SAMPLES, AudioEncoder
from pipeline.clock import HALF_TICK, MediaClock
from pipeline.events import Event
from pipeline.fanout import Fanout
from pipeline.media import FRAME_SECONDS, MouthPatch, Pcm
from pipeline.moments import Mark
from pipeline.mouths import MouthOrders
from pipeline.picture import Picture, PictureMaker
from pipeline.playout import Beat, Order, Playout
from pipeline.rate_control import RateControl
from pipeline.stats import Mean
from pipeline.timings import Timings

log = structlog.get_logger(__name__)

MAX_FAILURES = 25
"""Pictures in a row that cannot be made, after which the session's media ends."""


class PictureFailureError(RuntimeError):
    """No picture can be made any more."""


@dataclass(slots=True)
class Counts:
    pictures: int = 0
    skipped: int = 0
    late: int = 0
    keyframes: int = 0
    sounds: int = 0
    late_mouths: int = 0
    draw_ms: Mean = field(default_factory=Mean)
    encode_ms: Mean = field(default_factory=Mean)
    sound_ms: Mean = field(default_factory=Mean)
    late_ms: Mean = field(default_factory=Mean)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a picture shows: a frame of the base, and the mouth on it, if any."""

    frame: int
    patch: MouthPatch | None


class Release:
    """Two points of the clock's grid make a tick. On the first leaves the sound of its first 20 ms, on the second that
    of the other 20 ms, and the next picture is begun. Each packet leaves at its own instant, as sender reports pair
    media time with the time of sending. A picture goes with the end of its sound, at the next tick, because browsers
    play sound later than they show a picture of the same time (docs/decisions.md); so it also has 60 ms to be made,
    and sound never waits for it. Sound is encoded here, at its instant (0.1 ms), and so an interruption silences even
    the half tick under way.

    emit: takes what happened. moved: called after each picture's worth. sounded: with each 20 ms of speech that leaves,
    and when. mark: told when an utterance's first mouth has left.
    """

    def __init__(
        self,
        playout: Playout,
        mouths: MouthOrders,
        maker: PictureMaker,
        fanout: Fanout,
        rate: RateControl,
        emit: Callable[[list[Event]], None],
        moved: Callable[[], None],
        sounded: Callable[[float, Pcm], None],
        timings: Timings,
        mark: Mark,
    ) -> None:
        self._playout = playout
        self._mouths = mouths
        self._maker = maker
        self._fanout = fanout
        self._rate = rate
        self._emit = emit
        self._moved = moved
        self._sounded = sounded
        self._timings = timings
        self._mark = mark
        self._mouthed = ""  # the utterance whose mouth was drawn last
        self._first_mouth: asyncio.Future[Picture] | None = None  # its first picture with one
        self._sound = AudioEncoder()
        self._clock = MediaClock(time.monotonic())
        self._rest: tuple[int, Pcm] | None = None  # generation and sound of the tick's second half
        self._next_made = (0, time.monotonic())  # a position, and when its picture is begun
        self._failures = 0
        self._shown: tuple[int, MouthPatch | None] = (0, None)
        self.counts = Counts()

    @property
    def jumps(self) -> int:
        return self._clock.jumps

    @property
    def shown(self) -> Shown:
        """The picture that was begun last; without its mouth while nobody looks."""
        return Shown(*self._shown)

    async def run(self) -> None:
        """Until it is cancelled. Raises PictureFailureError."""
        leaving: asyncio.Future[Picture] | None = None
        while True:
            await _until(self._clock.due)
            self._second_half()
            beat = self._playout.next(time.monotonic(), self._rendered)
            job = self._begin(beat)
            self._next_made = (beat.position + 1, self._clock.due + HALF_TICK)
            self.order_mouths()
            await _until(self._clock.due)
            self._first_half(leaving)
            leaving = job
            if self._failures >= MAX_FAILURES:
                raise PictureFailureError("The picture cannot be encoded.")

    def order_mouths(self) -> None:
        """Have the mouths rendered that the playout wants now. Nobody looks: none."""
        if not self._fanout.wants_video:
            self._mouths.clear()
            return
        position, at = self._next_made
        self._mouths.want(self._playout.orders(), lambda wanted: at + (wanted - position) * FRAME_SECONDS)

    # -- the two halves of a tick -------------------------------------------------------------------------------

    def _first_half(self, job: asyncio.Future[Picture] | None) -> None:
        """A picture that is not made yet follows by itself."""
        now = time.monotonic()
        late = max(0.0, now - self._clock.due)
        self.counts.late_ms.add(late * 1000)
        self._timings.late.add(late)
        instant = self._clock.take(now)
        pcm, events = self._playout.sent()
        if job is not None:
            if job.done():
                self._send_picture(job, instant, now)
            else:
                self.counts.late += 1
                job.add_done_callback(lambda done: self._send_picture(done, instant, now))
        generation = self._playout.generation
        self._rest = (generation, pcm[PACKET_SAMPLES:]) if pcm is not None else None
        self._send_sound(pcm[:PACKET_SAMPLES] if pcm is not None else None, instant)
        self._emit(events)
        self._moved()

    def _second_half(self) -> None:
        instant = self._clock.take(time.monotonic())
        pcm = None
        if self._rest is not None and self._rest[0] == self._playout.generation:
            pcm = self._rest[1]
        self._rest = None
        self._send_sound(pcm, instant)

    # -- picture ------------------------------------------------------------------------------------------------

    def _rendered(self, order: Order) -> bool:
        return not self._fanout.wants_video or self._mouths.ready(order)

    def _begin(self, beat: Beat) -> asyncio.Future[Picture] | None:
        """Have a beat's picture made, if anybody looks and not too many wait already."""
        if not self._fanout.wants_video:
            self._shown = (beat.frame, None)
            return None
        patch: MouthPatch | None = None
        if beat.order is not None:
            patch = self._mouths.take(beat.order)
        self._shown = (beat.frame, patch)
        self.counts.late_mouths += beat.late
        if self._maker.full:
            self.counts.skipped += 1
            return None
        self._playout.render_seconds = self._mouths.seconds
        now = time.monotonic()
        key = self._fanout.keys.wanted(now)
        if key:
            self._fanout.keys.made(now)
        job = self._maker.make(beat.frame, patch, key=key, bitrate=self._rate.bitrate)
        if patch is not None and beat.order is not None and beat.order.source[0] != self._mouthed:
            self._mouthed = beat.order.source[0]
            self._first_mouth = job
        return job

    def _send_picture(self, job: asyncio.Future[Picture], instant: float, ticked: float) -> None:
        """ticked: when its sound left."""
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            self._failures += 1
            # A traceback takes the event loop longer than a picture does: one is enough.
            told = error if self._failures == 1 else None
            log.error("picture_failed", in_a_row=self._failures, error=repr(error), exc_info=told)
            self._fanout.keys.join()
            return
        self._failures = 0
        picture = job.result()
        now = time.monotonic()
        counts = self.counts
        counts.pictures += 1
        counts.draw_ms.add(picture.draw_ms)
        counts.encode_ms.add(picture.encode_ms)
        timings = self._timings
        timings.draw.add(picture.draw_ms / 1000)
        timings.encode.add(picture.encode_ms / 1000)
        timings.offset.add(now - ticked)
        if job is self._first_mouth:
            self._first_mouth = None
            if self._mouthed:
                self._mark(self._mouthed, "mouth", now)
        if picture.key:
            counts.keyframes += 1
            self._fanout.keys.made(now)
        for packet in picture.packets:
            _stamp(packet, instant, video_encoder.CLOCK, video_encoder.TIME_BASE)
            self._rate.sent(now, packet.size)
            self._fanout.video(packet)

    # -- sound --------------------------------------------------------------------------------------------------

    def _send_sound(self, pcm: Pcm | None, instant: float) -> None:
        if not self._fanout.wants_audio:
            return
        began = time.perf_counter()
        packets = self._sound.encode(pcm)
        took = time.perf_counter() - began
        self.counts.sound_ms.add(took * 1000)
        self._timings.sound.add(took)
        for packet in packets:
            self.counts.sounds += 1
            _stamp(packet, instant, audio_encoder.TIME_BASE.denominator, audio_encoder.TIME_BASE)
            self._fanout.audio(self._playout.generation, packet)
        if pcm is not None:
            self._sounded(time.monotonic(), pcm)


def _stamp(packet: Packet[Stream], instant: float, clock: int, time_base: Fraction) -> None:
    packet.time_base = time_base
    packet.pts = packet.dts = round(instant * clock)


async def _until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - time.monotonic()))
