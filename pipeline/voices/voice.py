"""What every voice offers: a sentence goes in, speech comes out in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from pipeline.media import SpeechChunk


class VoiceError(Exception):
    """A voice could not say a sentence. `code` is stable; str() is a sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Voice(Protocol):
    """One way to speak. `name` is what settings and requests call it, e.g. "hibari:heart", "edge:en-US-AriaNeural"."""

    name: str

    def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
        """Say one sentence; marks in seconds from the sentence's first sample. Raises VoiceError.

        The iterator's `aclose()` (an interruption) stops the work and frees what it holds.
        """

    def can_say(self, sentence: str) -> bool:
        """Whether this voice has the sounds for the sentence's script and language."""

    async def close(self) -> None:
        """Free connections and models."""
