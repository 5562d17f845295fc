"""A conversation on a real live session, speaker and model client; face, voices and the model's server are fakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.conversation import Conversation
from pipeline.events import Caption, Event, SpeechEnded
from pipeline.history import History
from pipeline.language_model import LanguageModel, ModelSettings, OpenAIModel
from pipeline.media import VideoSettings
from pipeline.moments import Moment
from pipeline.persona import Persona
from pipeline.session import LiveSession
from pipeline.speaker import Speaker
from pipeline.trace import Interruption, Tracer, Turn
from pipeline.voices.book import VoiceBook
from tests.conversation.model_server import ModelServer, model_server
from tests.pipeline.fakes import FakeFace, make_avatar
from tests.voices.fakes import FakeVoice

WORD_SECONDS = 0.08


@dataclass
class Talk:
    """A conversation under test, and all its events."""

    conversation: Conversation
    live: LiveSession
    server: ModelServer
    english: FakeVoice
    chinese: FakeVoice
    events: list[Event] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    tracer: Tracer = field(default_factory=Tracer)
    traced: list[Turn | Interruption] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        found = self.tracer.event(event, time.monotonic())
        if found is not None:
            self.traced.append(found)
        self.came.set()

    def of(self, kind: type[Any], utterance: str | None = None) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (utterance is None or getattr(event, "utterance_id", None) == utterance)
        ]

    async def until(self, condition: Callable[[], Any], limit: float = 30.0) -> None:
        """Wait for a condition that some event makes true."""
        async with asyncio.timeout(limit):
            while not condition():
                self.came.clear()
                await self.came.wait()

    async def event(self, kind: type[Any], utterance: str | None = None) -> Any:
        """The first event of a kind, waited for."""
        await self.until(lambda: self.of(kind, utterance))
        return self.of(kind, utterance)[0]

    async def words(self, count: int, utterance: str | None = None) -> None:
        """Wait until that many words of it were sent."""
        await self.until(lambda: len(self.of(Caption, utterance)) >= count)

    async def answered(self, question: str) -> SpeechEnded:
        """Ask, and hear the answer to its end."""
        ended: SpeechEnded = await self.event(SpeechEnded, self.conversation.ask(question))
        return ended

    @property
    def last_asked(self) -> list[dict[str, str]]:
        """The messages of the model's last request."""
        messages: list[dict[str, str]] = self.server.asked[-1]["messages"]
        return messages


OpenTalk = Callable[..., AbstractAsyncContextManager[Talk]]


@pytest.fixture
def talking() -> OpenTalk:
    """`async with talking(reply=…, speed=…, model=…, settings={…}) as talk`: switches of the model's server by name."""

    @asynccontextmanager
    async def opened(
        *,
        model: LanguageModel | None = None,
        settings: dict[str, Any] | None = None,
        history: int = 3000,
        word_seconds: float = WORD_SECONDS,
        **switches: Any,
    ) -> AsyncIterator[Talk]:
        english = FakeVoice("hibari:heart", word_seconds=word_seconds)
        chinese = FakeVoice("fake:zh", script="han", word_seconds=word_seconds)
        book = VoiceBook(online=False, languages={"zh": "fake:zh"})
        book.add(english)
        book.add(chinese)
        avatar = make_avatar()
        face = FakeFace(avatar)
        talks: list[Talk] = []
        async with model_server(**switches) as server:
            used = model or OpenAIModel(ModelSettings(server.url, "tiny", **(settings or {})))
            await used.warm_up()

            def mark(utterance_id: str, moment: Moment, at: float) -> None:
                talks[0].tracer.mark(utterance_id, moment, at)

            conversation = Conversation(
                lambda event: talks[0].on_event(event), used, Persona(), History(history), kb_id="kb-1", mark=mark
            )
            video = VideoSettings(bitrate=400_000, max_bitrate=800_000, min_bitrate=100_000)
            live = LiveSession("test", avatar, face, Speaker(book), video, conversation.take, mark=mark)
            conversation.attach(live)
            talks.append(Talk(conversation, live, server, english, chinese))
            try:
                await live.start()
                yield talks[0]
            finally:
                await asyncio.wait_for(conversation.close(), 10)
                await asyncio.wait_for(live.close(), 10)
                await used.close()
                face.close()

    return opened
