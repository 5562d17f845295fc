"""The online voice against a service on loopback: streaming, words, time limits, interruption."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from pipeline.media import SAMPLE_RATE, SpeechChunk, WordMark
from pipeline.voices.book import VoiceBook
from pipeline.voices.edge import EdgeVoice
from pipeline.voices.edge_words import WrittenWords
from pipeline.voices.voice import VoiceError
from tests.voices.fakes import WORD_SECONDS, FakeEdge


async def heard(voice: EdgeVoice, sentence: str) -> list[SpeechChunk]:
    async with asyncio.timeout(30):
        return [chunk async for chunk in voice.speak(sentence)]


def words(chunks: list[SpeechChunk]) -> list[WordMark]:
    return [word for chunk in chunks for word in chunk.words]


async def test_a_sentence_comes_in_pieces_with_its_words_as_written(edge: FakeEdge) -> None:
    chunks = await heard(EdgeVoice("en-US-AriaNeural"), 'A well-known "tutor" costs $9.99, & speaks.')
    assert [word.text for word in words(chunks)] == ["A", "well-known", '"tutor"', "costs", "$9.99,", "&", "speaks."]
    known = words(chunks)[1]
    assert known.start == pytest.approx(WORD_SECONDS)
    assert known.end == pytest.approx(3 * WORD_SECONDS)
    assert len(chunks) > 3
    assert all(chunk.phonemes is None for chunk in chunks)
    sound = np.concatenate([chunk.pcm for chunk in chunks])
    assert sound.dtype == np.int16
    # eight reported words, the service's silence after them cut to 50 ms; MP3 adds its own delay of about 46 ms
    assert len(sound) / SAMPLE_RATE == pytest.approx(8 * WORD_SECONDS + 0.1, abs=0.06)
    spectrum = np.abs(np.fft.rfft(sound[4800:52800].astype(float)))
    assert int(spectrum.argmax()) == 220
    assert "en-US, AriaNeural" in edge.requests[0]


async def test_chinese_words(edge: FakeEdge) -> None:
    chunks = await heard(EdgeVoice("zh-CN-XiaoxiaoNeural"), "你好，世界和平。")
    assert "".join(word.text for word in words(chunks)) == "你好，世界和平。"
    assert len(words(chunks)) >= 3


async def test_markup_in_the_text_stays_text(edge: FakeEdge) -> None:
    await heard(EdgeVoice("en-US-AriaNeural"), "</prosody><voice name='x'> & so on")
    assert "&lt;/prosody&gt;&lt;voice name='x'&gt; &amp; so on</prosody>" in edge.requests[0]


@pytest.mark.parametrize("name", ["Aria", "en-US-Aria'/><x>Neural", "en-US-AriaNeural\n", "", "en-US-" + "A" * 200])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(VoiceError) as failure:
        EdgeVoice(name)
    assert failure.value.code == "unknown_voice"


@pytest.mark.parametrize(("fault", "value"), [("hang_at", "connect"), ("hang_at", "start"), ("refuse", 503)])
async def test_unreachable_in_time(edge: FakeEdge, fault: str, value: object) -> None:
    setattr(edge, fault, value)
    voice = EdgeVoice("en-US-AriaNeural", first_seconds=0.3)
    with pytest.raises(VoiceError) as failure:
        await heard(voice, "Hello there.")
    assert failure.value.code == "voice_unreachable"


async def test_nobody_listens(edge: FakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", "ws://127.0.0.1:9/edge?x=y")
    with pytest.raises(VoiceError) as failure:
        await heard(EdgeVoice("en-US-AriaNeural"), "Hello there.")
    assert failure.value.code == "voice_unreachable"


@pytest.mark.parametrize(("fault", "value"), [("hang_at", 4320), ("drop_at", 4320)])
async def test_a_stall_in_mid_sentence(edge: FakeEdge, fault: str, value: int) -> None:
    setattr(edge, fault, value)
    voice = EdgeVoice("en-US-AriaNeural", stall_seconds=0.3)
    chunks: list[SpeechChunk] = []

    async def listen() -> None:
        async with asyncio.timeout(30):
            async for chunk in voice.speak("One two three four five six."):
                chunks.append(chunk)

    with pytest.raises(VoiceError) as failure:
        await listen()
    assert failure.value.code == "voice_stalled"
    assert sum(len(chunk.pcm) for chunk in chunks) > SAMPLE_RATE // 3


async def test_what_is_no_sound_is_an_error(edge: FakeEdge) -> None:
    edge.noise = True
    with pytest.raises(VoiceError):
        await heard(EdgeVoice("en-US-AriaNeural", first_seconds=0.5), "Hello there.")


async def test_a_voice_that_the_service_does_not_have_leaves_the_others_alone(edge: FakeEdge) -> None:
    edge.mute = True
    book = VoiceBook()
    made_up = EdgeVoice("en-US-NobodyNeural")
    with pytest.raises(VoiceError) as failure:
        await heard(made_up, "Hello there.")
    assert failure.value.code == "voice_mute"
    book.rest(made_up, failure.value)
    assert book.rests(made_up)
    assert not book.rests(book.get("edge:en-US-AriaNeural"))


async def test_closing_ends_the_connection_at_once(edge: FakeEdge) -> None:
    edge.hang_at = 4320
    stream = EdgeVoice("en-US-AriaNeural").speak("One two three four five six.")
    async with asyncio.timeout(30):
        await anext(stream)
        assert edge.open == 1
        edge.release.set()
        await stream.aclose()
        await edge.ended.wait()
    assert edge.open == 0


async def test_cancelling_while_the_service_hangs_does_not_wait_for_it(edge: FakeEdge) -> None:
    edge.hang_at = "start"

    async def speak() -> None:
        await heard(EdgeVoice("en-US-AriaNeural", first_seconds=30), "Hello.")

    task = asyncio.create_task(speak())
    async with asyncio.timeout(30):
        await edge.asked.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=8)
    assert task.cancelled()


async def test_only_punctuation_asks_nobody(edge: FakeEdge) -> None:
    assert await heard(EdgeVoice("en-US-AriaNeural"), "... — !") == []
    assert edge.requests == []


def test_what_it_can_say() -> None:
    aria = EdgeVoice("en-US-AriaNeural")
    assert aria.can_say("Hello, 3 cafés!")
    assert not aria.can_say("你好")
    assert not aria.can_say("Hi 😀")
    assert EdgeVoice("zh-CN-XiaoxiaoNeural").can_say("你好 OK")
    assert EdgeVoice("en-US-AvaMultilingualNeural").can_say("你好 OK привет")


def test_reports_that_are_not_in_the_text() -> None:
    written = WrittenWords("Dr. Smith pays 5 €.")
    marks = [
        *written.report("Doctor", 0.0, 0.3),
        *written.report("Smith", 0.3, 0.6),
        *written.report("pays", 0.6, 0.8),
        *written.report("five euros", 0.8, 1.4),
        *written.finish(),
    ]
    assert [mark.text for mark in marks] == ["Doctor", "Smith", "pays", "five euros"]
