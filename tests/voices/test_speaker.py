"""The speaker: sentences in order, marks in the utterance's time, fallback in the same sentence, nothing crashes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.events import Problem
from pipeline.media import SAMPLE_RATE, SpeechChunk, WordMark
from pipeline.speaker import AHEAD, Speaker
from pipeline.voices.book import BUILT_IN, VoiceBook
from pipeline.voices.hibari import HibariVoice
from pipeline.voices.hibari_model import HibariModel
from pipeline.voices.voice import VoiceError
from tests.loop_time import LoopTime
from tests.voices.fakes import WORD_SECONDS, FakeEdge, FakeVoice


class Heard:
    """All that came of one utterance."""

    def __init__(self) -> None:
        self.chunks: list[SpeechChunk] = []
        self.problems: list[Problem] = []

    @property
    def words(self) -> list[WordMark]:
        return [word for chunk in self.chunks for word in chunk.words]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.problems]

    @property
    def seconds(self) -> float:
        return sum(len(chunk.pcm) for chunk in self.chunks) / SAMPLE_RATE

    async def listen(self, speaker: Speaker, text: str, voice: str | None = None) -> Heard:
        async with asyncio.timeout(30):
            async for chunk in speaker.speak(text, voice=voice, on_problem=self.problems.append, utterance_id="u1"):
                self.chunks.append(chunk)
        return self


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def book_of(*voices: FakeVoice, languages: dict[str, str] | None = None, clock: Clock | None = None) -> VoiceBook:
    """A book with fakes only; one named BUILT_IN takes the built-in voice's place."""
    book = VoiceBook(online=False, languages=languages or {}, clock=clock or Clock())
    for voice in voices:
        book.add(voice)
    return book


@pytest.fixture
def built_in() -> FakeVoice:
    return FakeVoice(BUILT_IN, frequency=440)


async def test_sentences_follow_each_other_in_the_utterance_s_time(built_in: FakeVoice) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), "One two. Three four five! Six?")
    assert heard.text == "One two. Three four five! Six?"
    assert built_in.asked == ["One two.", "Three four five!", "Six?"]
    assert heard.words[2].start == pytest.approx(2 * WORD_SECONDS + 0.2)
    assert heard.seconds == pytest.approx(6 * WORD_SECONDS + 2 * 0.2)
    marks = [mark for chunk in heard.chunks for mark in chunk.phonemes or ()]
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(marks))
    assert marks[-1].end == pytest.approx(heard.seconds)
    silent = [chunk for chunk in heard.chunks if not chunk.pcm.any()]
    assert [chunk.phonemes for chunk in silent] == [(), ()]
    assert heard.problems == []


async def test_a_clause_is_followed_by_a_short_pause(built_in: FakeVoice) -> None:
    text = "Hello there my dear students, today we talk about how plants make all of their food from light."
    heard = await Heard().listen(Speaker(book_of(built_in)), text)
    silent = [len(chunk.pcm) for chunk in heard.chunks if not chunk.pcm.any()]
    assert silent == [round(0.08 * SAMPLE_RATE)]


async def test_a_pause_of_a_voice_without_phonemes_claims_none() -> None:
    voice = FakeVoice(BUILT_IN, phonemes=False)
    heard = await Heard().listen(Speaker(book_of(voice)), "One. Two.")
    assert [chunk.phonemes for chunk in heard.chunks] == [None] * 3


async def test_no_more_is_made_than_two_seconds_ahead(built_in: FakeVoice) -> None:
    stream = Speaker(book_of(built_in)).speak("word " * 40 + ". Next one.", on_problem=lambda _: None)
    async with asyncio.timeout(30):
        await anext(stream)
        for _ in range(200):
            await asyncio.sleep(0)
        ahead = (len(built_in.given) - 1) * WORD_SECONDS
        assert AHEAD - WORD_SECONDS <= ahead <= AHEAD + WORD_SECONDS
        await stream.aclose()


async def test_the_next_sentence_is_made_while_the_first_is_taken(built_in: FakeVoice) -> None:
    stream = Speaker(book_of(built_in)).speak("One two. Three four. Five.", on_problem=lambda _: None)
    async with asyncio.timeout(30):
        await anext(stream)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(built_in.asked) > 1
        await stream.aclose()


async def test_closing_stops_the_voice(built_in: FakeVoice) -> None:
    stream = Speaker(book_of(built_in)).speak("word " * 40, on_problem=lambda _: None)
    async with asyncio.timeout(30):
        await anext(stream)
        assert built_in.open == 1
        await stream.aclose()
    assert built_in.open == 0


async def test_cancelling_the_listener_stops_the_voice(built_in: FakeVoice) -> None:
    built_in.gate = asyncio.Event()
    task = asyncio.create_task(Heard().listen(Speaker(book_of(built_in)), "Hello."))
    async with asyncio.timeout(30):
        while not built_in.open:  # noqa: ASYNC110 - it turns the loop until the voice is asked
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert built_in.open == 0


async def test_a_voice_that_cannot_be_reached_is_replaced_in_the_same_sentence(built_in: FakeVoice) -> None:
    other = FakeVoice("fake:far", fail_after=0)
    heard = await Heard().listen(Speaker(book_of(built_in, other)), "One two. Three.", voice="fake:far")
    assert heard.text == "One two. Three."
    assert heard.codes == ["voice_fallback"]
    assert heard.problems[0].utterance_id == "u1"
    assert heard.problems[0].details == {"voice": "fake:far", "fallback": BUILT_IN}
    assert other.asked == ["One two."]


async def test_a_voice_that_says_nothing_is_replaced_within_two_seconds(built_in: FakeVoice) -> None:
    other = FakeVoice("fake:mute", gate=asyncio.Event())
    stream = Speaker(book_of(built_in, other)).speak("One two.", voice="fake:mute", on_problem=lambda _: None)
    async with asyncio.timeout(30):
        async with LoopTime() as took:
            chunk = await anext(stream)
        assert took.seconds < 2
        assert chunk.words[0].text == "One"
        await stream.aclose()
    assert other.open == 0


async def test_a_failure_in_mid_sentence_goes_on_with_the_next_word(built_in: FakeVoice) -> None:
    other = FakeVoice("fake:far", fail_after=2, fail_code="voice_stalled")
    heard = await Heard().listen(Speaker(book_of(built_in, other)), "One two three four. Five.", voice="fake:far")
    assert built_in.asked == ["three four.", "Five."]
    assert heard.text == "One two three four. Five."
    starts = [word.start for word in heard.words]
    assert starts == pytest.approx([0, 0.25, 0.5, 0.75, 1.2])
    assert heard.codes == ["voice_fallback"]


async def test_a_word_broken_off_is_said_again_but_shown_once(built_in: FakeVoice) -> None:
    class Breaking(FakeVoice):
        async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
            words = (WordMark("One", 0, 0.2), WordMark("photosynthesis", 0.2, 1.2), WordMark("works.", 1.2, 1.5))
            yield SpeechChunk(np.full(SAMPLE_RATE // 2, 1000, np.int16), words)
            raise VoiceError("voice_stalled", "broken")

    other = Breaking("fake:far")
    heard = await Heard().listen(Speaker(book_of(built_in, other)), "One photosynthesis works.", voice="fake:far")
    assert built_in.asked == ["photosynthesis works."]
    assert heard.text == "One photosynthesis works."
    assert heard.words[-1].start == pytest.approx(0.5 + WORD_SECONDS)


async def test_a_word_reported_after_the_end_is_still_shown(built_in: FakeVoice) -> None:
    class Late(FakeVoice):
        async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
            yield SpeechChunk(np.full(4800, 1000, np.int16), (WordMark("One", 0, 0.1), WordMark("two.", 0.1, 0.2)))

    heard = await Heard().listen(Speaker(book_of(built_in, Late("fake:late"))), "One two.", voice="fake:late")
    assert heard.text == "One two."
    assert all(len(chunk.pcm) for chunk in heard.chunks)


async def test_a_failure_in_mid_sentence_without_marks_repeats_the_sentence(built_in: FakeVoice) -> None:
    other = FakeVoice("fake:far", fail_after=2, marks=False)
    await Heard().listen(Speaker(book_of(built_in, other)), "One two three.", voice="fake:far")
    assert built_in.asked == ["One two three."]


async def test_a_failed_voice_rests_and_is_asked_again(built_in: FakeVoice) -> None:
    clock = Clock()
    other = FakeVoice("fake:far", fail_after=0)
    speaker = Speaker(book_of(built_in, other, clock=clock), "fake:far")
    await Heard().listen(speaker, "One.")
    again = await Heard().listen(speaker, "Two. Three.")
    assert other.asked == ["One."]
    assert again.codes == ["voice_fallback"]
    clock.now += 31
    other.fail_after = None
    back = await Heard().listen(speaker, "Four.")
    assert other.asked == ["One.", "Four."]
    assert back.codes == []


async def test_an_unreachable_service_rests_with_all_its_voices(built_in: FakeVoice) -> None:
    one, two = FakeVoice("far:one", fail_after=0), FakeVoice("far:two")
    speaker = Speaker(book_of(built_in, one, two))
    await Heard().listen(speaker, "One.", voice="far:one")
    await Heard().listen(speaker, "Two.", voice="far:two")
    assert two.asked == []


async def test_another_language_has_its_own_voice(built_in: FakeVoice) -> None:
    chinese = FakeVoice("fake:zh", script=None, phonemes=False)
    heard = await Heard().listen(
        Speaker(book_of(built_in, chinese, languages={"zh": "fake:zh"})), "Hello. 你好，同学们。 Bye."
    )
    assert built_in.asked == ["Hello.", "Bye."]
    assert chinese.asked == ["你好，同学们。"]
    assert heard.problems == []


async def test_what_no_voice_can_say_is_told_once_and_left_out(built_in: FakeVoice) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), "Great job! It is 世界 here. 你好。 Bye.")
    assert heard.codes == ["cannot_say"]
    assert heard.problems[0].details == {"text": "世界 你好"}
    assert heard.problems[0].message.endswith(": 世界 你好")
    assert built_in.asked == ["Great job!", "It is here.", "Bye."]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It is blue light, 世界, 你好, and more.", "It is blue light, and more."),
        ("We say 世界, 你好.", "We say."),
        ("你好, hello there.", "hello there."),
        ('The word "你好" (世界) is a greeting.', "The word is a greeting."),
        ("Wait, what?! Yes... 世界", "Wait, what?!"),
        ("Say (你好, or hello), please.", "Say (or hello), please."),
    ],
)
async def test_punctuation_of_what_is_left_out_goes_with_it(built_in: FakeVoice, text: str, said: str) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), text)
    assert heard.text.startswith(said)
    assert built_in.asked[0] == said


async def test_a_long_text_that_cannot_be_said_is_told_in_short(built_in: FakeVoice) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), "Привет, мир. " * 300)
    assert heard.codes == ["cannot_say"]
    text = heard.problems[0].details["text"]
    assert text.startswith("Привет мир Привет мир")
    assert len(text) <= 80
    assert text.endswith("…")
    assert len(heard.problems[0].message) < 120


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Great job 👍🏽! Go on 🎉🎉.", ["Great job!", "Go on."]),
        ("1️⃣ One, ❤️ two.", ["1 One, two."]),
        ("My 👩\u200d👩\u200d👧 family.", ["My family."]),
        ("Zero\u200bwidth\u200c and\u2060 no\ufeff signs\ufe0f.", ["Zerowidth and no signs."]),
        ("The flag 🇩🇪 is here. 🙂 Yes.", ["The flag is here.", "Yes."]),
        ("♥ Here", ["Here"]),
    ],
)
async def test_emoji_and_invisible_characters_are_left_out_without_a_word(
    built_in: FakeVoice, text: str, said: list[str]
) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), text)
    assert built_in.asked == said
    assert heard.problems == []


async def test_joiners_stay_where_they_are_spelling(built_in: FakeVoice) -> None:
    other = FakeVoice("fake:any", script=None)
    text = "می\u200cخواهم، क्\u200dष."
    await Heard().listen(Speaker(book_of(built_in, other)), text, voice="fake:any")
    assert other.asked == [text]


async def test_a_letter_that_cannot_be_said_takes_its_marks_along(built_in: FakeVoice) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), "So नमस्ते to you.")
    assert built_in.asked == ["So to you."]
    assert heard.problems[0].details == {"text": "नमस्ते"}


async def test_a_language_voice_that_fails_is_told(built_in: FakeVoice) -> None:
    chinese = FakeVoice("fake:zh", script=None, fail_after=0)
    heard = await Heard().listen(Speaker(book_of(built_in, chinese, languages={"zh": "fake:zh"})), "你好 OK.")
    assert built_in.asked == ["OK."]
    assert heard.codes == ["voice_fallback", "cannot_say"]


async def test_a_fallback_is_told_where_it_happens_also_if_nothing_is_left_to_say(built_in: FakeVoice) -> None:
    chinese = FakeVoice("fake:zh", script=None, fail_after=0)
    speaker = Speaker(book_of(built_in, chinese, languages={"zh": "fake:zh"}))
    first = await Heard().listen(speaker, "你好，同学们。 Hello.")
    assert first.codes == ["voice_fallback", "cannot_say"]
    assert first.problems[0].details == {"voice": "fake:zh", "fallback": BUILT_IN}
    only = await Heard().listen(speaker, "你好。")
    assert only.codes == ["voice_fallback", "cannot_say"]
    other = await Heard().listen(speaker, "Nothing is wrong with this.")
    assert other.codes == []


async def test_the_built_in_voice_failing_is_told_and_the_rest_is_said() -> None:
    class Sometimes(FakeVoice):
        async def speak(self, sentence: str) -> AsyncIterator[SpeechChunk]:
            if "bad" in sentence:
                raise VoiceError("cannot_say", "no")
            async for chunk in super().speak(sentence):
                yield chunk

    heard = await Heard().listen(Speaker(book_of(Sometimes(BUILT_IN))), "Good. A bad one. Good again.")
    assert heard.text == "Good. Good again."
    assert heard.codes == ["cannot_say"]


@pytest.mark.parametrize("text", ["", " \n ", "...", "?!", "\x00", "👍🏽", "\u200d\ufe0f"])
async def test_nothing_to_say_is_told_once(built_in: FakeVoice, text: str) -> None:
    heard = await Heard().listen(Speaker(book_of(built_in)), text)
    assert heard.chunks == []
    assert heard.codes == ["cannot_say"]


async def test_an_unknown_voice_is_an_error(built_in: FakeVoice) -> None:
    with pytest.raises(VoiceError) as failure:
        await Heard().listen(Speaker(book_of(built_in)), "Hello.", voice="fake:nobody")
    assert failure.value.code == "unknown_voice"


async def test_tokens_are_spoken_before_the_text_is_complete(built_in: FakeVoice) -> None:
    more = asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        yield "Hello there. "
        yield "How"
        await more.wait()
        yield " are you?"

    stream = Speaker(book_of(built_in)).speak(tokens(), on_problem=lambda _: None)
    async with asyncio.timeout(30):
        first = await anext(stream)
        assert first.words[0].text == "Hello"
        more.set()
        rest = [word.text async for chunk in stream for word in chunk.words]
    assert rest == ["there.", "How", "are", "you?"]


async def test_many_at_once_do_not_mix(built_in: FakeVoice) -> None:
    speaker = Speaker(book_of(built_in))
    texts = [f"This is number {n}. And again {n}." for n in range(8)]
    heard = await asyncio.gather(*(Heard().listen(speaker, text) for text in texts))
    assert [one.text for one in heard] == texts


async def test_edge_hangs_and_the_real_built_in_voice_takes_over(edge: FakeEdge, model: HibariModel) -> None:
    edge.hang_at = "start"
    edge.release.clear()
    book = VoiceBook()
    built_in = book.built_in()
    assert isinstance(built_in, HibariVoice)
    built_in._model = model
    heard = Heard()
    stream = Speaker(book).speak(
        "Hello there, this goes on.", voice="en-US-AriaNeural", on_problem=heard.problems.append
    )
    async with asyncio.timeout(30):
        async with LoopTime() as took:
            first = await anext(stream)
        assert took.seconds < 2.5  # 1.8 s, the built-in voice's 50 ms and a busy machine
        heard.chunks = [first, *[chunk async for chunk in stream]]
    await book.close()
    assert heard.text == "Hello there, this goes on."
    assert heard.codes == ["voice_fallback"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
async def test_any_text_is_spoken_or_told(model: HibariModel, text: str) -> None:
    book = VoiceBook(online=False)
    built_in = book.built_in()
    assert isinstance(built_in, HibariVoice)
    built_in._model = model
    heard = await Heard().listen(Speaker(book), text)
    await book.close()
    assert heard.chunks or heard.problems
    for word in heard.words:
        assert 0 <= word.start < word.end <= heard.seconds + 1e-6


def test_names() -> None:
    book = VoiceBook()
    assert book.names()[0] == BUILT_IN
    assert book.resolve("auto") == book.resolve("hibari") == BUILT_IN
    assert book.get("en-US-AriaNeural").name == "edge:en-US-AriaNeural"
    assert book.get("edge:de-DE-KatjaNeural") is book.get("edge:de-DE-KatjaNeural")
    assert book.get("auto") is book.built_in()
    for name in ("hibari:nobody", "edge:nonsense", "edge:", "x:y", "../x", "n" * 300):
        with pytest.raises(VoiceError):
            book.get(name)
    assert not any(name.startswith("edge:") for name in VoiceBook(online=False).names())
    with pytest.raises(VoiceError):
        VoiceBook(online=False).get("edge:en-US-AriaNeural")


def test_asking_for_many_voices_keeps_few() -> None:
    book = VoiceBook()
    for number in range(200):
        book.get(f"edge:en-US-Voice{number}Neural")
    assert len(book._edge) <= 32
