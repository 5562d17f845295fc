"""Listening: the student's sound goes to an ear, what it finds to the recogniser and to the conversation."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import structlog
from av.audio.frame import AudioFrame

from pipeline.conversation import Conversation
from pipeline.dictation import Dictation, Pace, Words
from pipeline.ear import I16, Ear, Heard
from pipeline.echo import EchoGuard, SentSound
from pipeline.events import Event, Problem, Transcription
from pipeline.recognise import Recogniser, RecogniserError
from pipeline.session import SessionClosed
from pipeline.turns import State
from pipeline.voice_activity import CHUNK_SECONDS, MOST_SECONDS, RATE, Began, Ended, Paused

log = structlog.get_logger(__name__)

QUEUE = 100
"""Frames (20 ms) of a microphone that wait; the oldest go first."""

STALL_SECONDS, STEP_SECONDS = 0.5, 0.1
"""A microphone from which nothing comes for so long is off, not held up by its network: silence, step by step."""

AWAY_SECONDS = 1.0
"""A microphone that comes again after so long takes over."""

CLIPS = 4
"""Recordings of the student's that wait for their words."""

FAILED_SECONDS = 1.0  # until an ear that failed is tried again
CLOSE_SECONDS = 2.0

FAILED = "I am sorry, I could not make out what you said. Please type it, or try again."
NO_WORDS = "There were no words in this recording."


class TooManyClips(Exception):
    """CLIPS recordings wait already."""


class Inlet:
    """One connection's microphone. Only the one that began to send last is heard; the others are drained."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._last = float("-inf")
        self.frames: deque[AudioFrame] = deque(maxlen=QUEUE)

    def put(self, frame: AudioFrame) -> None:
        """The next decoded sound, of any rate and layout; on the event loop."""
        now = time.monotonic()
        if now - self._last > AWAY_SECONDS:
            self._hearing.switch_to(self)
        self._last = now
        if self._hearing.hears(self):
            self.frames.append(frame)
            if sum(each.samples / each.sample_rate for each in self.frames) >= CHUNK_SECONDS:
                self._hearing.came.set()

    def close(self) -> None:
        self._hearing.leave(self)


class Hearing:
    """One session's. All methods are called on the event loop. emit: takes the events; must not block.

    pool: threads in which the ears work; the caller's. sent: what the session sends, to know its echo.
    """

    def __init__(
        self,
        talk: Conversation,
        recogniser: Recogniser,
        emit: Callable[[Event], None],
        pool: ThreadPoolExecutor,
        sent: SentSound,
    ) -> None:
        self._talk = talk
        self._recogniser = recogniser
        self._emit = emit
        self._pool = pool
        self._sent = sent
        self._pace = Pace()
        self._inlet: Inlet | None = None
        self._turn: _Turn | None = None
        self._ear: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._clips: set[asyncio.Task[None]] = set()
        self._closed = False
        self.came = asyncio.Event()

    async def close(self) -> None:
        """Hear no more."""
        self._closed = True
        self.switch_to(None)
        tasks = self._leaving | self._clips
        for task in self._clips:
            task.cancel()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            if pending:
                log.error("hearing_close_timeout", tasks=len(pending))

    # -- microphones --------------------------------------------------------------------------------------------

    def open(self) -> Inlet:
        """A place for one more connection's microphone; its `close` gives it back."""
        return Inlet(self)

    def hears(self, inlet: Inlet) -> bool:
        return inlet is self._inlet

    def switch_to(self, inlet: Inlet | None) -> None:
        """Hear this one from now on; what the other one's turn was is dropped."""
        if inlet is self._inlet and self._ear is not None and not self._ear.done():
            return
        old, self._ear = self._ear, None
        if old is not None:
            self._leave(asyncio.create_task(_cancelled(old), name="ear-leaves"))
        self._drop_turn()
        self._inlet = inlet
        if inlet is not None and not self._closed:
            self._ear = asyncio.create_task(self._hear(inlet), name="ear")

    def leave(self, inlet: Inlet) -> None:
        """It has gone."""
        if inlet is self._inlet:
            self.switch_to(None)

    async def _hear(self, inlet: Inlet) -> None:
        while True:
            try:
                # In the pool: the first one loads the voice detector.
                ear = await asyncio.get_running_loop().run_in_executor(self._pool, Ear, EchoGuard(self._sent))
                await self._listen(inlet, ear)
            except Exception:
                log.exception("ear_failed")
                self._drop_turn()
                await asyncio.sleep(FAILED_SECONDS)

    async def _listen(self, inlet: Inlet, ear: Ear) -> None:
        loop = asyncio.get_running_loop()
        last, wait = time.monotonic(), STALL_SECONDS
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self.came.wait()
            except TimeoutError:
                if not ear.activity.speaking:
                    continue
            self.came.clear()
            now = time.monotonic()
            over = self._talk.state in (State.THINKING, State.SPEAKING)
            frames = list(inlet.frames)
            inlet.frames.clear()
            wait = STALL_SECONDS if frames else STEP_SECONDS
            if frames:
                work = partial(ear.feed, frames, now, over=over)
            else:
                work = partial(ear.silence, now - last, now, over=over)
            for each in await loop.run_in_executor(self._pool, work):
                self._act(each, ear)
            last = now
            if ear.activity.speaking and self._turn is not None:
                self._turn.grow(ear)

    def _act(self, heard: Heard, ear: Ear) -> None:
        match heard.decision:
            case Began(since):
                if self._turn is None:
                    self._turn = _Turn(self._recogniser, self._pace, self._words, self._failed, ear)
                else:
                    self._turn.go_on(ear)
                self._talk.student_started(since)
            case Paused(at):
                if self._turn is not None and heard.sound is not None:
                    self._turn.paused(heard.sound, at)
            case Ended(until):
                if self._turn is not None and heard.sound is not None:
                    self._talk.student_stopped(until)
                    self._turn.ended(heard.sound, until)

    # -- words --------------------------------------------------------------------------------------------------

    def _words(self, words: Words) -> None:
        turn = self._turn
        if turn is None:
            return
        turn.ear.activity.understood(words.text, words.until)
        if words.final:
            self._turn = None
            if words.text or turn.told:
                self._emit(Transcription(turn.id, words.text, True))
            self._talk.words(words.text, final=True)
        elif words.text and words.text != turn.told:
            turn.told = words.text
            self._emit(Transcription(turn.id, words.text, False))
            self._talk.words(words.text, final=False)

    def _failed(self, error: RecogniserError) -> None:
        turn = self._turn
        if turn is not None:
            self._emit(Problem("recogniser_failed", FAILED))
            self._drop_turn()

    def _drop_turn(self) -> None:
        """There will be no words."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        self._leave(asyncio.create_task(turn.dictation.close(), name="dictation-closes"))
        if turn.told:
            self._emit(Transcription(turn.id, "", True))
        self._talk.student_stopped()
        self._talk.false_alarm()

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    # -- clips --------------------------------------------------------------------------------------------------

    def clip(self, sound: I16) -> str:
        """What the student said as a recording, (n,) at 16 kHz: its words are told and answered. Gives the id that they
        will be told with. Raises TooManyClips, SessionClosed.
        """
        if self._closed:
            raise SessionClosed("This session is not running.")
        if len(self._clips) >= CLIPS:
            raise TooManyClips(f"{CLIPS} recordings wait already.")
        utterance_id = secrets.token_hex(8)
        task = asyncio.create_task(self._read(utterance_id, sound), name="clip")
        self._clips.add(task)
        task.add_done_callback(self._clips.discard)
        return utterance_id

    async def _read(self, utterance_id: str, sound: I16) -> None:
        try:
            text = await self._recogniser.transcribe(sound, urgent=True)
            self._emit(Transcription(utterance_id, text, True))
            if text:
                self._talk.ask(text)
            else:
                self._emit(Problem("no_words", NO_WORDS, utterance_id))
        except RecogniserError:
            self._emit(Problem("recogniser_failed", FAILED, utterance_id))
        except SessionClosed:
            log.info("clip_too_late")
        except Exception:
            log.exception("clip_failed")


class _Turn:
    """What the student says until it is answered: one stretch of speech, or several with pauses between."""

    def __init__(
        self,
        recogniser: Recogniser,
        pace: Pace,
        heard: Callable[[Words], None],
        failed: Callable[[RecogniserError], None],
        ear: Ear,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.told = ""
        self.ear = ear
        self.dictation = Dictation(recogniser, pace, heard, failed)
        self._before: I16 = np.zeros(0, np.int16)  # of the stretches that ended
        self._stretch: I16 = np.zeros(0, np.int16)

    def go_on(self, ear: Ear) -> None:
        self.ear = ear
        self._before = np.concatenate((self._before, self._stretch))[-round(MOST_SECONDS * RATE) :]
        self.dictation.go_on()

    def grow(self, ear: Ear) -> None:
        """Perhaps ask for a partial result."""
        if self.dictation.due(ear.seconds):
            self.dictation.want(self._all(ear.sound()), ear.until)

    def paused(self, sound: I16, at: float) -> None:
        self.dictation.want(self._all(sound), at, urgent=True)

    def ended(self, sound: I16, until: float) -> None:
        self._stretch = sound
        self.dictation.finish(self._all(sound), until)

    def _all(self, sound: I16) -> I16:
        return np.concatenate((self._before, sound))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
