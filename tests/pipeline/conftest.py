"""A started session on fakes, closed at the end of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.events import Event
from pipeline.media import VideoSettings
from pipeline.session import LiveSession
from tests.pipeline.fakes import FakeFace, FakeSpeaker, make_avatar
from tests.pipeline.receiver import Receiver

SETTINGS = VideoSettings(bitrate=400_000, max_bitrate=800_000, min_bitrate=100_000)


@dataclass
class Show:
    live: LiveSession
    face: FakeFace
    speaker: FakeSpeaker
    events: list[Event] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.came.set()

    def of(self, kind: type[Any], utterance: str | None = None) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (utterance is None or getattr(event, "utterance_id", None) == utterance)
        ]

    async def event(self, kind: type[Any], utterance: str | None = None, limit: float = 20.0) -> Any:
        """The first event of a kind, waited for."""
        async with asyncio.timeout(limit):
            while not (found := self.of(kind, utterance)):
                self.came.clear()
                await self.came.wait()
        return found[0]

    def receive(self, *, decode: bool = True) -> Receiver:
        return Receiver(self.live.join(), self.live.video.codec, decode)


OpenShow = Callable[..., AbstractAsyncContextManager[Show]]


@pytest.fixture
def show() -> OpenShow:
    """`async with show(speaker=…, face={…}, video=…, size=(w, h)) as …`"""

    @asynccontextmanager
    async def opened(
        *,
        speaker: FakeSpeaker | None = None,
        face: dict[str, Any] | None = None,
        video: VideoSettings = SETTINGS,
        size: tuple[int, int] = (320, 180),
    ) -> AsyncIterator[Show]:
        avatar = make_avatar(*size)
        fake = FakeFace(avatar, **(face or {}))
        speaker = speaker or FakeSpeaker()
        got: list[Show] = []
        live = LiveSession("test", avatar, fake, speaker, video, lambda event: got[0].on_event(event))
        got.append(Show(live, fake, speaker))
        try:
            await live.start()
            yield got[0]
        finally:
            await asyncio.wait_for(live.close(), 10)
            fake.close()

    return opened
