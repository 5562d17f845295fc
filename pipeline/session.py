"""A live session: text or recorded speech in, encoded sound and picture of one clock out, for any number of viewers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import structlog

from avatars.avatar import Avatar
from pipeline.echo import SentSound
from pipeline.events import Event, Problem, ProcessingStatus, SpeechEnded, SpeechStarted
from pipeline.fanout import Fanout, Viewer, ViewerClosed
from pipeline.lipsync.engine import EngineFallback, Face
from pipeline.media import SpeechChunk, VideoSettings
from pipeline.moments import Mark, unmarked
from pipeline.mouths import MouthOrders
from pipeline.picture import PictureMaker
from pipeline.playout import Playout, QueueFull
from pipeline.rate_control import RateControl
from pipeline.release import Release, Shown
from pipeline.speech_feed import Opener, SpeechFeed
from pipeline.stats import SessionStats
from pipeline.timings import Timings
from pipeline.workers import WORKERS

__all__ = ["LiveSession", "QueueFull", "SessionClosed", "Shown", "SpeakerLike", "Viewer", "ViewerClosed"]

log = structlog.get_logger(__name__)


class SessionClosed(Exception):
    """The session is not running: it was closed, or not started yet."""


class SpeakerLike(Protocol):
    """What turns text into speech; pipeline.speaker.Speaker is the real one."""

    def speak(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        on_problem: Callable[[Problem], None],
        utterance_id: str | None = None,
        on_sentence: Callable[[], None] | None = None,
    ) -> AsyncIterator[SpeechChunk]:
        """The speech of a text, or of one that is still being written, marks in seconds of the utterance. `aclose()`
        stops it. on_sentence: called when the first sentence is whole. Raises VoiceError.
        """


class LiveSession:
    """One tutor, live. All methods are called on the event loop; `on_event` is too, and must not block.

    The avatar and its face are the caller's: they must stay open until `close` has returned. sent: its newest sound.
    timings: where it adds how long things take, shared by several perhaps. mark: told of its utterances' moments.
    """

    def __init__(
        self,
        session_id: str,
        avatar: Avatar,
        face: Face,
        speaker: SpeakerLike,
        video: VideoSettings,
        on_event: Callable[[Event], None],
        *,
        timings: Timings | None = None,
        mark: Mark = unmarked,
    ) -> None:
        self.id = session_id
        self.avatar = avatar
        self.video = video
        self.sent = SentSound()
        self._speaker = speaker
        self._face = face
        self._on_event = on_event
        self._timings = timings or Timings()
        self._mark = mark
        self._playout = Playout(avatar.count, face.idle)
        self._mouths = MouthOrders(face, self._mouth_failed, self._timings.mouth)
        self._rate = RateControl(video)
        self._fanout = Fanout(self._estimate, self._left)
        self._early: dict[str, list[Problem]] = {}  # of utterances that are prepared while another is spoken
        self._status = "idle"
        self._fell_back = False
        self._started: float | None = None
        self._running: _Running | None = None
        self._closing: asyncio.Task[None] | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the clock. Once; on failure everything is freed again."""
        if self._started is not None:
            raise RuntimeError("a session is started once")
        self._started = time.monotonic()
        pictures, speech = WORKERS.acquire()
        maker = PictureMaker(self.avatar, self.video, pictures)
        try:
            await maker.open()
            if self._closing is not None:
                raise SessionClosed("This session was closed while it started.")
            self._running = self._run(maker, speech)
        except BaseException:
            await maker.close()
            WORKERS.release()
            raise

    @property
    def running(self) -> bool:
        """Whether its clock ticks: false before `start`, after `close`, and once it has failed."""
        return self._running is not None and not self._running.driver.done()

    async def close(self) -> None:
        """End it: viewers, voices, renderings, encoder and tasks are gone when this returns. Any number of times."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name=f"session-close {self.id}")
        await asyncio.shield(self._closing)

    def _run(self, maker: PictureMaker, pool: ThreadPoolExecutor) -> _Running:
        feed = SpeechFeed(
            self._playout, self._face, pool, self._emit, self._order_mouths, self._mouth_failed, self._mark
        )
        release = Release(
            self._playout,
            self._mouths,
            maker,
            self._fanout,
            self._rate,
            self._emit,
            feed.moved,
            self.sent.put,
            self._timings,
            self._mark,
        )
        driver = asyncio.create_task(release.run(), name=f"session {self.id}")
        driver.add_done_callback(self._driver_ended)
        return _Running(maker, feed, release, driver)

    async def _close(self) -> None:
        running, self._running = self._running, None
        self._emit([event for event in self._playout.interrupt() if isinstance(event, SpeechEnded)])
        self._fanout.close()
        self._mouths.clear()
        if running is None:
            return
        try:
            running.driver.cancel()
            await asyncio.wait({running.driver})
            await running.feed.close()
            await running.maker.close()
        finally:
            WORKERS.release()

    def _driver_ended(self, driver: asyncio.Task[None]) -> None:
        """It only ends by itself when it fails: then the viewers are told by the end of their packets."""
        if not driver.cancelled() and driver.exception() is not None:
            log.error("session_failed", session=self.id, exc_info=driver.exception())
            self._fanout.close()

    # -- speech -------------------------------------------------------------------------------------------------

    def say(self, text: str | AsyncIterable[str], *, voice: str | None = None) -> str:
        """Queue a text, or the pieces of one that is still being written; gives the utterance's id.

        Pieces are read when its turn comes, and left unread after an interruption: whoever writes them must not wait
        for that. Raises QueueFull, SessionClosed.
        """

        def opener(on_problem: Callable[[Problem], None]) -> AsyncIterator[SpeechChunk]:
            return self._speaker.speak(
                text,
                voice=voice,
                on_problem=on_problem,
                utterance_id=utterance_id,
                on_sentence=lambda: self._mark(utterance_id, "sentence", time.monotonic()),
            )

        utterance_id = secrets.token_hex(8)
        return self._queue(utterance_id, text if isinstance(text, str) else "", opener, recorded=False)

    def play(self, chunks: AsyncIterator[SpeechChunk], *, text: str = "") -> str:
        """Queue speech that was recorded; gives the utterance's id. Its `aclose()`, if it has one, is called at the end
        whatever happens, but not when this raises. Raises QueueFull, SessionClosed.
        """
        return self._queue(secrets.token_hex(8), text, lambda on_problem: chunks, recorded=True)

    def interrupt(self) -> int:
        """Stop what is said and what waits, at once; gives the new generation."""
        self._mark("", "silent", self.sent.until)
        events = self._playout.interrupt()
        self._fanout.drop_sound(self._playout.generation)
        if self._running is not None:
            self._running.feed.drop()
            self._running.release.order_mouths()
        self._emit(events)
        return self._playout.generation

    def hold(self) -> None:
        """Fall silent at once and stay where it is, until `resume` or `interrupt`; status and queue stay."""
        self._playout.held = True
        self._order_mouths()

    def resume(self) -> None:
        """Go on where `hold` came, at the next picture."""
        self._playout.held = False
        self._order_mouths()

    @property
    def generation(self) -> int:
        return self._playout.generation

    @property
    def status(self) -> str:
        """ "idle", "thinking" (something is to be said, and not heard yet) or "speaking"."""
        return self._playout.status

    def _queue(self, utterance_id: str, text: str, opener: Opener, *, recorded: bool) -> str:
        if self._running is None or not self.running:
            raise SessionClosed("This session is not running.")
        self._playout.add(utterance_id, text)
        self._mark(utterance_id, "played" if recorded else "said", time.monotonic())
        self._running.feed.add(utterance_id, opener, recorded=recorded)
        self._emit([])
        return utterance_id

    # -- viewers ------------------------------------------------------------------------------------------------

    def join(self) -> Viewer:
        """A place for one more receiver. Raises SessionClosed."""
        if not self.running:
            raise SessionClosed("This session is not running.")
        return self._fanout.join()

    @property
    def viewers(self) -> int:
        return len(self._fanout)

    def _estimate(self, viewer: Viewer, bitrate: int) -> None:
        self._rate.report(viewer, bitrate, time.monotonic())

    def _left(self, viewer: Viewer) -> None:
        self._rate.gone(viewer, time.monotonic())

    # -- what happens -------------------------------------------------------------------------------------------

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Problem(utterance_id=str() as utterance_id) if utterance_id in self._playout.ids[1:]:
                    self._early.setdefault(utterance_id, []).append(event)  # told when its turn has come
                    continue
                case SpeechStarted() | SpeechEnded():
                    for problem in self._early.pop(event.utterance_id, ()):
                        self._tell(problem)
            self._tell(event)
        if self._playout.status != self._status:
            self._status = self._playout.status
            self._tell(ProcessingStatus(self._status))

    def _tell(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:
            log.exception("event_listener_failed", session=self.id, event_type=event.type)

    def _order_mouths(self) -> None:
        if self._running is not None:
            self._running.release.order_mouths()

    def _mouth_failed(self, error: Exception) -> None:
        """The engine could not render or analyse; told once a session, counted in the figures."""
        if not self._fell_back:
            self._fell_back = True
            log.error("engine_failed", session=self.id, exc_info=error)
            message = "The lip-sync engine failed; the tutor goes on speaking, partly without moving lips."
            if isinstance(error, EngineFallback):
                message = str(error)
            self._tell(Problem("engine_fallback", message, None, {"cause": type(error).__name__}))

    # -- figures ------------------------------------------------------------------------------------------------

    def shown(self) -> Shown | None:
        """The picture of the moment; None: it does not run."""
        return self._running.release.shown if self._running is not None else None

    def stats(self) -> SessionStats:
        playout, mouths, running = self._playout, self._mouths, self._running
        counts = running.release.counts if running else None
        video_queue, audio_queue = self._fanout.queued
        ids = playout.ids
        return SessionStats(
            status=playout.status,
            generation=playout.generation,
            viewers=len(self._fanout),
            seconds=round(time.monotonic() - self._started, 3) if self._started is not None else 0.0,
            position=playout.position,
            pictures=counts.pictures if counts else 0,
            pictures_skipped=counts.skipped if counts else 0,
            pictures_late=counts.late if counts else 0,
            keyframes=counts.keyframes if counts else 0,
            sounds=counts.sounds if counts else 0,
            mouths=mouths.rendered,
            mouths_late=mouths.late + (counts.late_mouths if counts else 0),
            mouths_failed=mouths.failed,
            starts_late=playout.starts_late,
            underruns=playout.underruns,
            stalls=running.release.jumps if running else 0,
            overflows=self._fanout.overflows,
            draw_ms=counts.draw_ms.rounded if counts else None,
            encode_ms=counts.encode_ms.rounded if counts else None,
            sound_encode_ms=counts.sound_ms.rounded if counts else None,
            analyse_ms=running.feed.analyse_ms.rounded if running else None,
            mouth_ms=round(mouths.seconds * 1000, 2) if mouths.rendered else None,
            release_late_ms=counts.late_ms.rounded if counts else None,
            bitrate=self._rate.bitrate,
            sent_bitrate=round(self._rate.sent_rate),
            video_queue=video_queue,
            audio_queue=audio_queue,
            utterances=len(ids),
            utterances_begun=playout.begun,
            ahead_seconds=round(playout.ahead(ids[0]), 3) if ids else 0.0,
        )


@dataclass(frozen=True, slots=True)
class _Running:
    """What exists between `start` and `close`."""

    maker: PictureMaker
    feed: SpeechFeed
    release: Release
    driver: asyncio.Task[None]
