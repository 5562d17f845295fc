"""Honest fakes: a voice that hums its words in time, and an edge service on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from pipeline.media import SAMPLE_RATE, Pcm, PhonemeMark, SpeechChunk, WordMark
from pipeline.voices.scripts import scripts
from pipeline.voices.voice import VoiceError

WORD_SECONDS = 0.25


def tone(seconds: float, frequency: float = 220.0, level: float = 0.3) -> Pcm:
    """A sine, mono int16 at 48 kHz."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * 32767 * np.sin(2 * np.pi * frequency * t)).astype(np.int16)


class FakeVoice:
    """Hums every word of a sentence for `word_seconds` (its letters are its phonemes), one chunk a word.

    delay: seconds before the first chunk. gate: nothing is given before it is set.
    fail_after: words given before VoiceError(fail_code); 0 fails at once, None never.
    hang_after: words given before it says nothing more. script: the only script it can say ("latin", "han"; None: any).
    phonemes, marks: whether its chunks have them. What it was asked is in `asked`, what it gave in `given` (words);
    `open` counts sentences that are being spoken.
    """

    def __init__(
        self,
        name: str = "fake:voice",
        *,
        delay: float = 0.0,
        gate: asyncio.Event | None = None,
        fail_after: int | None = None,
        fail_code: str = "voice_unreachable",
        hang_after: int | None = None,
        script: str | None = "latin",
        phonemes: bool = True,
        marks: bool = True,
        frequency: float = 220.0,
        word_seconds: float = WORD_SECONDS,
    ) -> None:
        self.name = name
        self.delay = delay
        self.gate = gate
        self.fail_after = fail_after
        self.fail_code = fail_code
        self.hang_after = hang_after
        self.script = script
        self.phonemes = phonemes
        self.marks = marks
        self.frequency = frequency
        self.word_seconds = word_seconds
        self.asked: list[str] = []
        self.given: list[str] = []
        self.open = 0
        self.closed = False

    async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
        self.asked.append(sentence)
        self.open += 1
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.gate is not None:
                await self.gate.wait()
            for index, word in enumerate(sentence.split()):
                if index == self.fail_after:
                    break
                if index == self.hang_after:
                    await asyncio.Event().wait()
                self.given.append(word)
                yield self._chunk(word, index * self.word_seconds)
            if self.fail_after is not None:
                raise VoiceError(self.fail_code, f"{self.name} was told to fail.")
        finally:
            self.open -= 1

    def can_say(self, sentence: str) -> bool:
        return self.script is None or scripts(sentence) <= {self.script}

    async def close(self) -> None:
        self.closed = True

    def _chunk(self, word: str, start: float) -> SpeechChunk:
        each = self.word_seconds / len(word)
        letters = tuple(PhonemeMark(c, start + i * each, start + (i + 1) * each) for i, c in enumerate(word))
        return SpeechChunk(
            tone(self.word_seconds, self.frequency),
            (WordMark(word, start, start + self.word_seconds),) if self.marks else (),
            letters if self.phonemes else None,
        )


def mp3(pcm: Pcm, rate: int = 24_000) -> bytes:
    """`pcm` (48 kHz) as raw MP3 frames of 48 kbit/s, what the service sends."""
    codec = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate = rate
    codec.bit_rate = 48_000
    codec.layout = "mono"
    codec.format = "s16p"
    codec.time_base = Fraction(1, rate)
    resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate, frame_size=1152)
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(bytes(packet) for f in [*frames, None] for packet in codec.encode(f))


@dataclass
class FakeEdge:
    """Speaks the service's protocol: a tone a word, word boundaries, MP3.

    word_seconds: sound of each word. silence: seconds of it after the last word. refuse: HTTP status instead of a
    connection. hang_at: "connect" (no answer to the handshake), "start" (nothing after it) or a number of bytes of
    sound after which nothing more comes. drop_at: bytes of sound after which the connection is cut.
    noise: rubbish instead of MP3. mute: the turn ends at once, as for a voice that the service does not have.
    """

    word_seconds: float = WORD_SECONDS
    silence: float = 0.8
    refuse: int | None = None
    hang_at: str | int | None = None
    drop_at: int | None = None
    noise: bool = False
    mute: bool = False
    requests: list[str] = field(default_factory=list)
    open: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _server: TestServer | None = None

    async def start(self) -> str:
        """Listen on loopback; the address for `edge_tts.communicate.WSS_URL`."""
        app = web.Application()
        app.router.add_get("/edge", self._serve)
        self._server = TestServer(app, host="127.0.0.1")
        await self._server.start_server()
        return str(self._server.make_url("/edge")).replace("http://", "ws://") + "?token=none"

    async def stop(self) -> None:
        self.release.set()
        if self._server is not None:
            await self._server.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.refuse is not None:
            return web.Response(status=self.refuse)
        if self.hang_at == "connect":
            await self.release.wait()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.open += 1
        self.ended.clear()
        try:
            ssml = ""
            while "Path:ssml" not in ssml:
                message = await socket.receive(timeout=5)
                if message.type is not WSMsgType.TEXT:
                    return socket
                ssml = message.data
            self.requests.append(ssml)
            self.asked.set()
            await self._answer(socket, ssml)
        except ConnectionError:
            pass  # the client has gone, as some tests want
        finally:
            self.open -= 1
            self.ended.set()
        return socket

    async def _answer(self, socket: web.WebSocketResponse, ssml: str) -> None:
        await socket.send_str('X-RequestId:1\r\nPath:turn.start\r\n\r\n{"context":{}}')
        if self.hang_at == "start":
            await self.release.wait()
            return
        if self.mute:
            await socket.send_str("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")
            await socket.receive(timeout=5)
            return
        text = ssml[ssml.rindex("<prosody") :].split(">", 1)[1].split("</prosody>")[0]
        text = text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
        words = [word.strip(".,!?;:—。，！？") for word in _words(text)]
        for index, word in enumerate(word for word in words if word):
            await socket.send_str("X-RequestId:1\r\nPath:audio.metadata\r\n\r\n" + self._boundary(index, word))
        count = sum(1 for word in words if word)
        sound = np.concatenate([tone(count * self.word_seconds), np.zeros(int(self.silence * SAMPLE_RATE), np.int16)])
        data = b"\x00\x17no sound at all" * 400 if self.noise else mp3(sound)
        for at in range(0, len(data), 720):
            if self.drop_at is not None and at >= self.drop_at:
                assert socket._req is not None
                assert socket._req.transport is not None
                socket._req.transport.abort()
                return
            if isinstance(self.hang_at, int) and at >= self.hang_at:
                await self.release.wait()
                return
            head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
            await socket.send_bytes(len(head).to_bytes(2, "big") + head + data[at : at + 720])
        head = b"X-RequestId:1\r\nPath:audio\r\n"
        await socket.send_bytes(len(head).to_bytes(2, "big") + head)
        await socket.send_str("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")
        await socket.receive(timeout=5)

    def _boundary(self, index: int, word: str) -> str:
        data = {
            "Offset": round(index * self.word_seconds * 10_000_000),
            "Duration": round(self.word_seconds * 10_000_000),
            "text": {"Text": word, "Length": len(word), "BoundaryType": "WordBoundary"},
        }
        return json.dumps({"Metadata": [{"Type": "WordBoundary", "Data": data}]})


def _words(text: str) -> list[str]:
    """By spaces and hyphens, as the service reports; Chinese by two characters."""
    words: list[str] = []
    for part in text.replace("-", " ").split():
        if scripts(part) & {"han"}:
            plain = part.strip("。，！？")
            words += [plain[i : i + 2] for i in range(0, len(plain), 2)]
        else:
            words.append(part)
    return words
