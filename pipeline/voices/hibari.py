"""The built-in voice: hibari-tts, English, on the CPU, with word marks and phonemes; needs no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.media import SAMPLE_RATE, SpeechChunk
from pipeline.voices.chunks import shifted, silence, sliced
from pipeline.voices.hibari_model import PAUSE, HibariModel, Piece, installed
from pipeline.voices.scripts import scripts
from pipeline.voices.voice import VoiceError
from pipeline.workers import give_way

_SECONDS = 15.0  # for one piece, the model's first loading and the queue of other sessions included
_SCRIPTS = frozenset({"latin"})

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class HibariVoice:
    """hibari's `heart` or another installed voice. One instance a process: all sessions share its model and thread."""

    def __init__(self, voice: str = "heart") -> None:
        if not installed(voice):
            raise VoiceError("unknown_voice", f"The voice hibari:{voice} is not on this machine.")
        self.name = f"hibari:{voice}"
        self._voice = voice
        self._model: HibariModel | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="voice-hibari", initializer=give_way)

    async def warm_up(self) -> None:
        """Load the model (0.9 s, half of it holding the GIL: before serving) and speak once in silence."""
        await self._do(self._plan, "Ready.")

    async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
        """Say a sentence: short chunks with all the marks of their piece in the first. Raises VoiceError."""
        given = 0
        for piece in await self._do(self._plan, sentence):
            chunk = await self._do(self._render, piece)
            if given:
                pause = silence(PAUSE, phonemes=True)
                given += len(pause.pcm)
                yield pause
            for part in sliced(shifted(chunk, given / SAMPLE_RATE)):
                yield part
            given += len(chunk.pcm)

    def can_say(self, sentence: str) -> bool:
        """Latin letters, digits and signs: English is what it speaks well, its neighbours with an accent."""
        return scripts(sentence) <= _SCRIPTS

    async def close(self) -> None:
        """Stop the thread and let the model go."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._model = None

    def _loaded(self) -> HibariModel:
        if self._model is None:
            self._model = HibariModel(self._voice)
        return self._model

    def _plan(self, sentence: str) -> list[Piece]:
        return self._loaded().plan(sentence)

    def _render(self, piece: Piece) -> SpeechChunk:
        return self._loaded().render(piece)

    async def _do(self, work: Callable[[_In], _Out], what: _In) -> _Out:
        """Run a piece of work on the voice's own thread; a piece that has not begun is dropped on cancellation."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._worker, work, what)
        except TimeoutError:
            raise VoiceError("voice_failed", f"The voice {self.name} did not answer in {_SECONDS:.0f} s.") from None
