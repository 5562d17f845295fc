"""Stand-ins for what lies below the server: an engine without lips, and a session that answers but draws no face."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import fields
from typing import Any, get_type_hints

from avatars.avatar import Avatar
from pipeline.events import Event, Interrupted, ProcessingStatus, SpeechEnded, SpeechStarted
from pipeline.lipsync.engine import Progress
from pipeline.media import SpeechChunk, VideoSettings
from pipeline.moments import Mark, unmarked
from pipeline.session import QueueFull, Shown
from pipeline.stats import SessionStats
from pipeline.timings import Timings
from pipeline.voices.book import VoiceBook
from tests.rtc.fakes import FakeLive

QUEUE = 3


class FakeVoice:
    """Has the built-in voice's name and says nothing: sessions here are pretended, and a real one loads for 0.5 s."""

    name = "hibari:heart"

    async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
        return
        yield

    def can_say(self, sentence: str) -> bool:
        return True

    async def close(self) -> None:
        pass


def quiet_book() -> VoiceBook:
    book = VoiceBook()
    book.add(FakeVoice())
    return book


class FakeFace:
    def analyser(self) -> Any:
        raise NotImplementedError

    def idle(self, frame: int) -> None:
        return None

    def submit(self, frame: int, mouth: Any, presence: float, deadline: float) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done


class FakeEngine:
    """Opens any avatar at once; counts."""

    name = "fake"

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed = False

    def prepare(self, avatar: Avatar, progress: Progress) -> None:
        (avatar.path / self.name).mkdir()
        progress(1.0)

    def open(self, avatar: Avatar) -> FakeFace:
        self.opened.append(avatar.id)
        return FakeFace()

    def close(self) -> None:
        self.closed = True


class FakeSession(FakeLive):
    """Sends a test picture and a tone like a real one; speech starts at once and lasts until `finish`."""

    made: list[FakeSession]

    def __init__(
        self,
        session_id: str,
        avatar: Avatar,
        face: Any,
        speaker: Any,
        video: VideoSettings,
        on_event: Callable[[Event], None],
        *,
        timings: Timings | None = None,
        mark: Mark = unmarked,
    ) -> None:
        super().__init__(codec=video.codec, width=160, height=96)
        self.id, self.avatar, self.on_event = session_id, avatar, on_event
        self.mark = mark
        self.said: list[tuple[str, str | None]] = []
        self.recordings: list[tuple[int, str]] = []
        self.waiting: list[str] = []
        self.generation = 0
        self.closed = False
        self._count = 0
        self._plays: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.__aenter__()

    async def close(self) -> None:
        self.closed = True
        for utterance in self.waiting:
            self.on_event(SpeechEnded(utterance, self.generation, "interrupted", 0.5, "some of it"))
        self.waiting = []
        for task in self._plays:
            task.cancel()
        await asyncio.gather(*self._plays, return_exceptions=True)
        await self.__aexit__()

    def say(self, text: str | AsyncIterable[str], voice: str | None = None) -> str:
        utterance = self._queue()
        if isinstance(text, str):
            self._say(utterance, text, voice)
            return utterance

        async def read() -> None:
            self._say(utterance, "".join([piece async for piece in text]), voice)

        task = asyncio.create_task(read())
        self._plays.add(task)
        return utterance

    def _say(self, utterance: str, text: str, voice: str | None) -> None:
        self.said.append((text, voice))
        self.on_event(SpeechStarted(utterance_id=utterance, generation=self.generation, text=text))

    @property
    def status(self) -> str:
        return "speaking" if self.waiting else "idle"

    def hold(self) -> None:
        raise NotImplementedError("nobody speaks to this session")

    def resume(self) -> None:
        raise NotImplementedError("nobody speaks to this session")

    def play(self, chunks: AsyncIterator[SpeechChunk], text: str = "") -> str:
        utterance = self._queue()

        async def listen() -> None:
            samples = 0
            async for chunk in chunks:
                samples += len(chunk.pcm)
            self.recordings.append((samples, text))

        task = asyncio.create_task(listen())
        self._plays.add(task)
        return utterance

    def interrupt(self) -> int:
        self.generation += 1
        gone, self.waiting = self.waiting, []
        self.mark("", "silent", time.monotonic() if gone else float("-inf"))
        for utterance in gone:
            self.on_event(SpeechEnded(utterance, self.generation, "interrupted", 0.5, "half of it"))
        self.on_event(Interrupted(generation=self.generation, utterance_ids=gone))
        return self.generation

    def finish(self) -> None:
        """The oldest utterance has been said."""
        utterance = self.waiting.pop(0)
        self.on_event(SpeechEnded(utterance, self.generation, "finished", 1.0, "all of it"))

    def shown(self) -> Shown:
        return Shown(0, None)

    def stats(self) -> SessionStats:
        kinds = get_type_hints(SessionStats)
        nothing = {each.name: None if kinds[each.name] == float | None else 0 for each in fields(SessionStats)}
        counts = {"utterances": len(self.waiting), "utterances_begun": self._count, "generation": self.generation}
        return SessionStats(**{**nothing, "status": "idle", **counts})

    def _queue(self) -> str:
        if len(self.waiting) >= QUEUE:
            raise QueueFull
        self._count += 1
        utterance = f"{self.id[:4]}-{self._count}"
        self.waiting.append(utterance)
        self.mark(utterance, "said", time.monotonic())
        self.on_event(ProcessingStatus(self.status))
        return utterance
