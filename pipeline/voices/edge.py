"""The online voices of Microsoft Edge: streamed, decoded as they come, with word marks; many languages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import aiohttp
import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from edge_tts import Communicate
from edge_tts.exceptions import EdgeTTSException, NoAudioReceived
from edge_tts.typing import TTSChunk

from pipeline.media import SAMPLE_RATE, Pcm, SpeechChunk, WordMark
from pipeline.resample import Resampler
from pipeline.sentences import bounded
from pipeline.voices.chunks import shifted, sliced
from pipeline.voices.edge_words import WrittenWords
from pipeline.voices.scripts import has_sound, scripts, scripts_of
from pipeline.voices.voice import VoiceError

NAME = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,10}){1,2}-[A-Za-z0-9]{2,40}Neural")
"""What a voice may be called. The name goes into the request's SSML: nothing else may get there."""

_TICKS = 10_000_000  # the service counts 100 ns
_MESSAGES = 256  # waiting to be decoded: more than a sentence has
_TIDY_SECONDS = 1.0  # to close a connection: aiohttp doesn't wait for the other side when it is cancelled
_LONGEST = 120 * SAMPLE_RATE  # of one sentence: more is not what was asked for
_QUIET = 66  # of 32767: -54 dB, silence in the service's sound
_TAIL = SAMPLE_RATE // 20  # of the silence after the last word, 50 ms stay

_Failure = (EdgeTTSException, aiohttp.ClientError, OSError, av.FFmpegError, ValueError, KeyError, TypeError)


class EdgeVoice:
    """One of the online voices, e.g. `en-US-AriaNeural`. Holds no connection between sentences.

    first_seconds: from the request to the first sound, the connection included. stall_seconds: without anything new
    in mid-sentence. Both below 2 s, so that another voice can take over in time.
    """

    def __init__(self, voice: str, first_seconds: float = 1.8, stall_seconds: float = 1.8) -> None:
        if NAME.fullmatch(voice) is None:
            raise VoiceError("unknown_voice", f"edge:{voice[:60]} is not the name of a voice.")
        self.name = f"edge:{voice}"
        self._voice = voice
        self._first_seconds = first_seconds
        self._stall_seconds = stall_seconds
        self._multilingual = "Multilingual" in voice
        self._scripts = scripts_of(voice)

    async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
        """Say a sentence as it comes from the service. Raises VoiceError: voice_unreachable, voice_stalled,
        voice_mute (the service answered, without sound: it has no such voice, or this one cannot say it).
        """
        given = 0
        for text in bounded(sentence):
            if not has_sound(text):
                continue
            offset = given / SAMPLE_RATE
            stream = self._speak(text, begun=given > 0)
            try:
                async for chunk in stream:
                    for part in sliced(shifted(chunk, offset)):
                        yield part
                    given += len(chunk.pcm)
            finally:
                await stream.aclose()

    def can_say(self, sentence: str) -> bool:
        """By the scripts of the voice's language; a multilingual voice reads all of them."""
        found = scripts(sentence)
        return "symbol" not in found and (self._multilingual or found <= self._scripts)

    async def close(self) -> None:
        """Nothing is held."""

    async def _speak(self, text: str, begun: bool) -> AsyncGenerator[SpeechChunk, None]:
        messages: asyncio.Queue[TTSChunk | None] = asyncio.Queue(_MESSAGES)
        request = asyncio.create_task(self._receive(text, messages), name=f"voice {self.name}")
        decoder = _Mp3()
        trimmer = _Trimmer()
        words = WrittenWords(text)
        marks: tuple[WordMark, ...] = ()
        sound = 0
        deadline = asyncio.get_running_loop().time() + self._first_seconds
        try:
            while (message := await self._next(request, messages, deadline, begun or sound > 0)) is not None:
                if message["type"] == "audio":
                    pcm = trimmer.feed(decoder.feed(message["data"]))
                    if len(pcm):
                        yield SpeechChunk(pcm, marks)
                        marks = ()
                        sound += len(pcm)
                        if sound > _LONGEST:
                            raise self._failed(True, "it does not end")
                elif message["type"] == "WordBoundary":
                    start = message["offset"] / _TICKS
                    marks += words.report(message["text"], start, start + message["duration"] / _TICKS)
                if sound:
                    deadline = asyncio.get_running_loop().time() + self._stall_seconds
            rest = np.concatenate([trimmer.feed(decoder.finish()), trimmer.finish()])
            marks += words.finish()
            if len(rest) or (marks and sound):
                yield SpeechChunk(rest if len(rest) else np.zeros(_TAIL, np.int16), marks)
        except NoAudioReceived as error:
            raise VoiceError("voice_mute", f"The voice {self.name} gave no sound for this.") from error
        except _Failure as error:
            raise self._failed(begun or sound > 0, str(error) or type(error).__name__) from error
        finally:
            await _stop(request)

    async def _receive(self, text: str, messages: asyncio.Queue[TTSChunk | None]) -> None:
        """Put what the service sends into the queue, None at the end."""
        service = Communicate(text, self._voice, boundary="WordBoundary", connect_timeout=2, receive_timeout=4)
        stream = service.stream()
        try:
            async for message in stream:
                await messages.put(message)
            if service.state["chunk_audio_bytes"]:  # counted since the last turn.end: it never came
                raise ConnectionError("the connection was cut")
            await messages.put(None)
        finally:
            await stream.aclose()

    async def _next(
        self, request: asyncio.Task[None], messages: asyncio.Queue[TTSChunk | None], deadline: float, begun: bool
    ) -> TTSChunk | None:
        """The next message; raises what the request failed with, or VoiceError when it is late."""
        if messages.empty():
            waiting = asyncio.ensure_future(messages.get())
            try:
                left = max(0.0, deadline - asyncio.get_running_loop().time())
                await asyncio.wait({waiting, request}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    return waiting.result()
            finally:
                waiting.cancel()
            if not request.done():
                raise self._failed(begun, "no answer in time")
            if messages.empty():
                request.result()  # raises what went wrong: without an error the queue ends with None
                raise self._failed(begun, "the answer broke off")
        return messages.get_nowait()

    def _failed(self, begun: bool, why: str) -> VoiceError:
        if begun:
            return VoiceError("voice_stalled", f"The voice {self.name} broke off in mid-sentence ({why}).")
        return VoiceError("voice_unreachable", f"The voice {self.name} cannot be reached ({why}).")


async def _stop(request: asyncio.Task[None]) -> None:
    """End a request and its connection; what it failed with is known already or of no interest any more."""
    request.cancel()
    await asyncio.wait({request}, timeout=_TIDY_SECONDS)
    if request.done() and not request.cancelled():
        request.exception()


class _Mp3:
    """MP3 frames in any pieces to 48 kHz."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("mp3", "r")
        assert isinstance(codec, AudioCodecContext)
        self._codec = codec
        self._resampler: Resampler | None = None

    def feed(self, data: bytes) -> Pcm:
        return self._decode(self._codec.parse(data))

    def finish(self) -> Pcm:
        pcm = self._decode([*self._codec.parse(b""), None])
        if self._resampler is None:
            return pcm
        return np.concatenate([pcm, self._resampler.finish()])

    def _decode(self, packets: Sequence[av.Packet[Any] | None]) -> Pcm:
        pieces = [np.zeros(0, np.int16)]
        for packet in packets:
            for frame in self._codec.decode(packet):
                if self._resampler is None:
                    self._resampler = Resampler(frame.sample_rate, frame.format.name, frame.layout.name)
                pieces.append(self._resampler.feed(frame))
        return np.concatenate(pieces)


class _Trimmer:
    """Holds silence back until sound follows: the service ends every sentence with most of a second of it."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.int16)

    def feed(self, pcm: Pcm) -> Pcm:
        pcm = np.concatenate([self._held, pcm])
        loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > _QUIET)
        cut = int(loud[-1]) + 1 if loud.size else 0
        self._held = pcm[cut:]
        return pcm[:cut]

    def finish(self) -> Pcm:
        return self._held[:_TAIL]
