"""An utterance's way in: speech pulled from its voice, at most 2 s ahead, its mouths found on a thread, both queued."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

import structlog

from pipeline.events import Event, Problem
from pipeline.lipsync.engine import Face, Mouth, SpeechAnalyser
from pipeline.media import SpeechChunk
from pipeline.moments import Mark
from pipeline.playout import Playout
from pipeline.stats import Mean
from pipeline.voices.voice import VoiceError

log = structlog.get_logger(__name__)

AHEAD = 2.0
"""Seconds of an utterance's sound that may wait in the playout."""

PREPARING = 2
"""Utterances whose speech is made at a time: the one that is spoken and the next."""

CHUNK_SECONDS = 30.0  # for a voice or a decoder to give the next piece; they have stricter limits of their own
ANALYSE_SECONDS = 5.0
CLOSE_SECONDS = 3.0

_T = TypeVar("_T")


class Opener(Protocol):
    """Opens an utterance's speech; called when its turn to be prepared has come."""

    def __call__(self, on_problem: Callable[[Problem], None]) -> AsyncIterator[SpeechChunk]: ...


class SpeechFeed:
    """Feeds a playout with the utterances it has queued, in order. Owns one task for each that is being prepared.

    emit: takes events. changed: called when there is new sound or there are new mouths. mouth_failed: the engine could
    not analyse. mark: told of each utterance's first sound.
    """

    def __init__(
        self,
        playout: Playout,
        face: Face,
        pool: ThreadPoolExecutor,
        emit: Callable[[list[Event]], None],
        changed: Callable[[], None],
        mouth_failed: Callable[[Exception], None],
        mark: Mark,
    ) -> None:
        self._playout = playout
        self._face = face
        self._pool = pool
        self._emit = emit
        self._changed = changed
        self._mouth_failed = mouth_failed
        self._mark = mark
        self._waiting: dict[str, tuple[Opener, bool]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self.analyse_ms = Mean()

    def add(self, utterance_id: str, opener: Opener, *, recorded: bool) -> None:
        """Take on an utterance that the playout has queued. recorded: its speech was uploaded, not made by a voice."""
        self._waiting[utterance_id] = (opener, recorded)
        self._fill()

    def moved(self) -> None:
        """A picture's worth was sent: there may be room, or the next utterance's turn."""
        if self._tasks or self._waiting:
            self._moved.set()
            self._fill()

    def drop(self) -> None:
        """Stop everything that was taken on (an interruption): cancelled now, gone soon."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        waiting, self._waiting = self._waiting, {}
        for opener, _ in waiting.values():
            self._own(asyncio.create_task(_discard(opener), name="speech-discard"))

    async def close(self) -> None:
        self.drop()
        if self._leaving:
            _, pending = await asyncio.wait(self._leaving, timeout=CLOSE_SECONDS)
            if pending:
                log.error("speech_close_timeout", tasks=len(pending))

    def _fill(self) -> None:
        live = self._playout.ids[:PREPARING]
        for utterance_id in live:
            if utterance_id in self._waiting:
                opener, recorded = self._waiting.pop(utterance_id)
                task = asyncio.create_task(self._feed(utterance_id, opener, recorded), name=f"speech {utterance_id}")
                self._tasks[utterance_id] = task
                self._own(task)
                task.add_done_callback(partial(self._ended, utterance_id))

    def _ended(self, utterance_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(utterance_id) is task:
            del self._tasks[utterance_id]

    def _own(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _feed(self, utterance_id: str, opener: Opener, recorded: bool) -> None:
        def on_problem(problem: Problem) -> None:
            if utterance_id in self._playout.ids:
                self._emit([problem])

        failed = voiced = False
        chunks: AsyncIterator[SpeechChunk] | None = None
        analysis = _Analysis(self, utterance_id)
        try:
            chunks = opener(on_problem)
            while True:
                async with asyncio.timeout(CHUNK_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                if not voiced:
                    voiced = True
                    self._mark(utterance_id, "voice", time.monotonic())
                await self._room(utterance_id)
                self._playout.put_sound(utterance_id, chunk.pcm, chunk.words, time.monotonic())
                await analysis.feed(chunk)
        except Exception as error:  # noqa: BLE001 - whatever a voice raises: this utterance fails, the session lives
            failed = True
            on_problem(_problem(error, recorded, utterance_id))
        finally:
            if chunks is not None:
                await _aclose(chunks)
        await analysis.finish()
        self._emit(self._playout.finish(utterance_id, failed=failed))
        self._changed()

    async def _room(self, utterance_id: str) -> None:
        while self._playout.ahead(utterance_id) >= AHEAD:
            self._moved.clear()
            await self._moved.wait()

    async def analyse(self, work: Callable[[], _T]) -> _T:
        began = time.monotonic()
        async with asyncio.timeout(ANALYSE_SECONDS):
            result = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        self.analyse_ms.add((time.monotonic() - began) * 1000)
        return result

    def mouths(self, utterance_id: str, mouths: Sequence[Mouth | None]) -> None:
        self._playout.put_mouths(utterance_id, mouths)
        self._changed()

    def give_up(self, utterance_id: str, error: Exception) -> None:
        self._playout.no_mouths(utterance_id)
        self._mouth_failed(error)
        self._changed()


class _Analysis:
    """One utterance's analyser; when it fails, the utterance is spoken without mouths."""

    def __init__(self, feed: SpeechFeed, utterance_id: str) -> None:
        self._feed = feed
        self._id = utterance_id
        self._analyser: SpeechAnalyser | None = None
        self._failed = False

    async def feed(self, chunk: SpeechChunk) -> None:
        await self._do(lambda: self._open().feed(chunk))

    async def finish(self) -> None:
        if self._analyser is not None:
            await self._do(lambda: self._open().finish())

    def _open(self) -> SpeechAnalyser:
        if self._analyser is None:
            self._analyser = self._feed._face.analyser()
        return self._analyser

    async def _do(self, work: Callable[[], Sequence[Mouth | None]]) -> None:
        if self._failed:
            return
        try:
            mouths = await self._feed.analyse(work)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises: the sound goes on
            self._failed = True
            self._feed.give_up(self._id, error)
            return
        self._feed.mouths(self._id, mouths)


def _problem(error: Exception, recorded: bool, utterance_id: str) -> Problem:
    known = isinstance(error, VoiceError)
    if not known:
        log.error("speech_failed", utterance=utterance_id, exc_info=error)
    if recorded:
        code, message = "audio_unreadable", "The recording could not be read to its end."
    else:
        code, message = "voice_failed", "The voice failed; the rest of this text is not spoken."
    details = {"cause": error.code if isinstance(error, VoiceError) else type(error).__name__}
    return Problem(code, str(error) if known else message, utterance_id, details)


async def _aclose(chunks: AsyncIterator[SpeechChunk]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await close()
    except Exception:
        log.exception("speech_aclose_failed")


async def _discard(opener: Opener) -> None:
    """Free what an utterance holds that never had its turn."""
    await _aclose(opener(lambda problem: None))
