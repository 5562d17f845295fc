"""What tests of listening share: a voice to listen to, the real recogniser's model, and a conversation with an ear."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ear import I16, to_ear
from pipeline.events import Transcription
from pipeline.hearing import Hearing, Inlet
from pipeline.media import Pcm
from pipeline.recognise import Recogniser
from pipeline.voices.hibari_model import HibariModel
from tests.conversation.conftest import OpenTalk, Talk, talking
from tests.listening.fakes import FakeRecogniser, frames
from tests.loop_time import SteadyClock
from tests.needs import NO_WHISPER, missing, whisper_folder

__all__ = ["talking"]

SHARED = Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))


@pytest.fixture(scope="session")
def whisper() -> Path:
    """The folder of Whisper's tiny.en."""
    return whisper_folder() or missing(NO_WHISPER)


@pytest.fixture(scope="session")
def speak() -> Callable[[str], Pcm]:
    """A sentence in the built-in voice, (n,) at 48 kHz."""
    model = HibariModel("heart")

    def spoken(text: str) -> Pcm:
        return np.concatenate([model.render(piece).pcm for piece in model.plan(text)])

    return spoken


@pytest.fixture(scope="session")
def other_speakers() -> list[I16]:
    """Real people, 16 kHz."""
    import av

    found = sorted((SHARED / "media").glob("speaker-synced-*"))
    if not found:
        missing(f"the clips of real speakers are not in {SHARED / 'media'}")
    sounds = []
    for path in found:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        with av.open(str(path)) as clip:
            pieces = [p.to_ndarray().reshape(-1) for f in clip.decode(audio=0) for p in resampler.resample(f)]
        sounds.append(np.concatenate(pieces))
    return sounds


@dataclass
class Heard:
    """A conversation with an ear."""

    talk: Talk
    hearing: Hearing
    inlet: Inlet

    async def play(self, sound: I16) -> None:
        """Into the microphone, in real time: (n,) at 16 kHz."""
        start = time.monotonic()
        for number, frame in enumerate(frames(sound)):
            await asyncio.sleep(max(0.0, start + number * 0.02 - time.monotonic()))
            self.inlet.put(frame)

    async def say(self, sound: Pcm, silence: float = 0.0) -> None:
        """The same of (n,) at 48 kHz, and some silence after it."""
        await self.play(np.concatenate((to_ear([sound]), np.zeros(round(silence * 16_000), np.int16))))

    @property
    def finals(self) -> list[str]:
        return [event.text for event in self.talk.of(Transcription) if event.final]

    @property
    def partials(self) -> list[str]:
        return [event.text for event in self.talk.of(Transcription) if not event.final]


OpenHearing = Callable[..., AbstractAsyncContextManager[Heard]]


@pytest.fixture
def hearing(talking: OpenTalk, monkeypatch: pytest.MonkeyPatch) -> OpenHearing:
    """`async with hearing(FakeRecogniser("yes"), reply=…) as heard`: as `talking`, with a microphone.

    Speaking and hearing take real time, of which a busy machine may miss some: the clock stands still with it.
    """

    @asynccontextmanager
    async def opened(recogniser: Recogniser | None = None, **more: Any) -> AsyncIterator[Heard]:
        monkeypatch.setattr(time, "monotonic", SteadyClock())
        with ThreadPoolExecutor(2) as pool:
            async with talking(**more) as talk:
                ear = Hearing(
                    talk.conversation, recogniser or FakeRecogniser("Yes."), talk.on_event, pool, talk.live.sent
                )
                inlet = ear.open()
                try:
                    yield Heard(talk, ear, inlet)
                finally:
                    inlet.close()
                    await asyncio.wait_for(ear.close(), 30)

    return opened
