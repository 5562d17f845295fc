"""Text to one utterance of speech: sentence by sentence, each by a voice that can say it, whatever fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from pipeline.events import Problem
from pipeline.media import SAMPLE_RATE, SpeechChunk, WordMark
from pipeline.sentences import SentenceSplitter, split_sentences
from pipeline.voices.book import VoiceBook
from pipeline.voices.chunks import shifted, silence
from pipeline.voices.scripts import has_sound, readable, sayable
from pipeline.voices.voice import Voice, VoiceError

AHEAD = 2.0
"""Seconds of speech made before they are taken."""

_PATIENCE = 1.9  # seconds without sound from a voice that is not built in, before the built-in one takes over
_MOMENT = 0.04  # of silence for marks that lie at a sentence's very end: no chunk is empty
_DETAILS = 80  # characters of a text in a problem's details
_HALF = 0.05  # a word whose last 50 ms are missing was said
_PAUSES = {",": 0.08, ";": 0.12, ":": 0.15, "，": 0.08, "、": 0.08, "；": 0.12, "：": 0.15, "—": 0.1, "–": 0.1}
_PAUSE = 0.2  # after a sentence; voices end with 30-50 ms of silence of their own

OnProblem = Callable[[Problem], None]


class Speaker:
    """Speaks texts with the voices of a book. One serves any number of utterances at a time."""

    def __init__(self, book: VoiceBook, default: str = "auto") -> None:
        self._book = book
        self._default = default

    async def speak(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        on_problem: OnProblem,
        utterance_id: str | None = None,
        on_sentence: Callable[[], None] | None = None,
    ) -> AsyncGenerator[SpeechChunk, None]:
        """The speech of a text, or of a text that is still being written, with marks in seconds of the utterance.

        Makes at most 2 s more than was taken. A voice that fails is replaced within 2 s, in the same sentence, and
        `on_problem` is told at once (voice_fallback); letters and numbers that no voice can say are left out and told
        when the rest is made (cannot_say); emoji are left out. Each code is told once. on_sentence: called when the
        first sentence is whole. Raises
        VoiceError("unknown_voice") for a voice that does not exist. `aclose()` stops everything.
        """
        chosen = self._book.get(voice or self._default)
        turn = _Turn(on_problem, utterance_id)
        work = asyncio.create_task(self._utter(turn, chosen, text, on_sentence), name=f"speak {utterance_id}")
        try:
            while (chunk := await turn.ahead.get()) is not None:
                yield chunk
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # raised above already, or of an utterance that nobody waits for

    async def _utter(
        self, turn: _Turn, chosen: Voice, text: str | AsyncIterable[str], on_sentence: Callable[[], None] | None
    ) -> None:
        try:
            async with aclosing(_sentences(text)) as sentences:
                async for sentence in sentences:
                    if on_sentence is not None:
                        on_sentence()
                        on_sentence = None
                    plain = readable(sentence)
                    if has_sound(plain):
                        await self._sentence(turn, chosen, plain)
                        turn.pause = _PAUSES.get(plain.rstrip("\"'”’)")[-1:], _PAUSE)
            turn.tell_unsaid()
        finally:
            turn.ahead.end()

    async def _sentence(self, turn: _Turn, chosen: Voice, sentence: str, repeats: bool = False) -> None:
        """Say a sentence with the first voice that can; without what none can say."""
        built_in = self._book.built_in()
        asked = [chosen, self._book.for_text(sentence), built_in]
        voices = list(dict.fromkeys(voice for voice in asked if voice is not None))
        awake = [voice for voice in voices if voice is built_in or not self._book.rests(voice)]
        able = [voice for voice in voices if voice.can_say(sentence)]
        voice = next((voice for voice in able if voice in awake), None)
        whole = voice is not None
        if voice is None:
            voice = min(awake, key=lambda voice: len(sayable(sentence, voice.can_say)[1]))
        wanted = able[0] if able else chosen
        if voice is not wanted and wanted not in awake:
            turn.fell_back(wanted, voice)
        if not whole:
            sentence, left = sayable(sentence, voice.can_say)
            turn.leave(left)
            if not has_sound(sentence):
                return
        await self._say(turn, chosen, voice, sentence, repeats)

    async def _say(self, turn: _Turn, chosen: Voice, voice: Voice, sentence: str, repeats: bool) -> None:
        built_in = voice is self._book.built_in()
        part = _Part(turn, None if built_in else sentence, repeats)
        stream = voice.speak(sentence)
        try:
            while (chunk := await part.next(stream, None if built_in else _PATIENCE, voice.name)) is not None:
                await part.give(chunk)
            await part.finish()
            return
        except VoiceError as error:
            failure = error
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        if built_in:
            if failure.code == "cannot_say":
                turn.leave(sentence)
            else:
                turn.tell("voice_failed", str(failure), text=_cut(sentence))
            return
        self._book.rest(voice, failure)
        rest, repeats = part.rest(sentence)
        if has_sound(rest):
            await self._sentence(turn, chosen, rest, repeats)


def _cut(text: str) -> str:
    return text if len(text) <= _DETAILS else text[: _DETAILS - 1].rstrip() + "…"


async def _sentences(text: str | AsyncIterable[str]) -> AsyncGenerator[str, None]:
    if isinstance(text, str):
        for sentence in split_sentences(text):
            yield sentence
        return
    splitter = SentenceSplitter()
    async for piece in text:
        for sentence in splitter.feed(piece):
            yield sentence
    for sentence in splitter.finish():
        yield sentence


class _Ahead:
    """Chunks that are made but not yet taken: at most AHEAD seconds of them (and always one)."""

    def __init__(self) -> None:
        self._chunks: deque[SpeechChunk] = deque()
        self._samples = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def put(self, chunk: SpeechChunk) -> None:
        while self._chunks and self._samples + len(chunk.pcm) > AHEAD * SAMPLE_RATE:
            self._changed.clear()
            await self._changed.wait()
        self._chunks.append(chunk)
        self._samples += len(chunk.pcm)
        self._changed.set()

    async def get(self) -> SpeechChunk | None:
        while not self._chunks:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._samples -= len(chunk.pcm)
        self._changed.set()
        return chunk

    def end(self) -> None:
        self._ended = True
        self._changed.set()


@dataclass
class _Turn:
    """One utterance under way."""

    on_problem: OnProblem
    utterance_id: str | None
    ahead: _Ahead = field(default_factory=_Ahead)
    samples: int = 0  # given so far
    pause: float = 0.0  # due before the next sound
    told: set[str] = field(default_factory=set)  # codes
    left: str = ""  # what no voice can say, the beginning of it

    def tell(self, code: str, message: str, **details: str) -> None:
        """Once an utterance for each code."""
        if code not in self.told:
            self.told.add(code)
            self.on_problem(Problem(code, message, self.utterance_id, dict(details)))

    def fell_back(self, voice: Voice, other: Voice) -> None:
        message = f"The voice {voice.name} does not answer; {other.name} takes its place."
        self.tell("voice_fallback", message, voice=voice.name, fallback=other.name)

    def leave(self, text: str) -> None:
        """No voice can say this; told at the utterance's end, all of it together."""
        if len(self.left) <= _DETAILS:
            self.left = f"{self.left} {text}".lstrip()

    def tell_unsaid(self) -> None:
        """At the end: what was left out, or that there was nothing to say at all."""
        if self.left:
            left = _cut(self.left)
            self.tell("cannot_say", f"No voice here can say this: {left}", text=left)
        elif not self.samples and not self.told:
            self.tell("cannot_say", "There is nothing to say in this text.", text="")

    async def give(self, chunk: SpeechChunk) -> None:
        self.samples += len(chunk.pcm)
        await self.ahead.put(chunk)


class _Part:
    """One voice's part of an utterance. careful: the sentence, when the voice may fail within it.

    A careful part gives a word's mark with the sound in which it begins: so it is known what was said when it fails.
    repeats: the first word was shown already (and cut off in the middle): its mark is dropped.
    """

    def __init__(self, turn: _Turn, careful: str | None, repeats: bool) -> None:
        self._turn = turn
        self._careful = careful is not None
        self._repeats = repeats
        self._offset: float | None = None
        self._given = 0
        self._phonemes = False
        self._waiting: list[WordMark] = []
        self._said: list[WordMark] = []

    async def next(self, stream: AsyncIterator[SpeechChunk], patience: float | None, name: str) -> SpeechChunk | None:
        """The voice's next chunk; None at its end. Raises VoiceError, also when it takes longer than `patience` s."""
        try:
            async with asyncio.timeout(patience):
                return await anext(stream)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            code = "voice_stalled" if self._given else "voice_unreachable"
            raise VoiceError(code, f"The voice {name} did not answer in time.") from None

    async def give(self, chunk: SpeechChunk) -> None:
        """Pass a chunk on, after the pause that is due, with its marks in their place."""
        if self._offset is None:
            if self._turn.pause and self._turn.samples:
                await self._turn.give(silence(self._turn.pause, chunk.phonemes is not None))
            self._turn.pause = 0.0
            self._offset = self._turn.samples / SAMPLE_RATE
        self._phonemes = chunk.phonemes is not None
        words = chunk.words
        if self._repeats and words:
            words, self._repeats = words[1:], False
        self._given += len(chunk.pcm)
        if self._careful:
            now = self._given / SAMPLE_RATE
            self._waiting += words
            words = tuple(word for word in self._waiting if word.start < now)
            self._waiting = [word for word in self._waiting if word.start >= now]
            self._said += words
        await self._turn.give(shifted(replace(chunk, words=words), self._offset))

    async def finish(self) -> None:
        """The voice has ended well: the marks that lie at its very end."""
        if self._waiting and self._offset is not None:
            last = replace(silence(_MOMENT, self._phonemes), words=tuple(self._waiting))
            await self._turn.give(shifted(last, self._offset))

    def rest(self, sentence: str) -> tuple[str, bool]:
        """What another voice has still to say of the sentence, and whether its first word was shown already."""
        if not self._given:
            return sentence, self._repeats
        now = self._given / SAMPLE_RATE + _HALF
        place = 0
        for word in self._said:
            found = sentence.find(word.text, place)
            begin = found if found >= 0 else place
            if word.end > now:
                return sentence[begin:], True
            place = begin + len(word.text) if found >= 0 else place
        return sentence[place:].lstrip(), False
