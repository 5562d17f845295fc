"""From the microphone to the answer: on a real live session, speaker and model client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.events import Interrupted, Problem, ProcessingStatus, SpeechEnded, SpeechStarted, Transcription
from pipeline.media import Pcm
from pipeline.recognise import WhisperRecogniser, WhisperSettings
from pipeline.turns import State
from tests.conversation.test_conversation import LONG
from tests.listening.conftest import OpenHearing
from tests.listening.fakes import FakeRecogniser
from tests.rtc.clients import until

Speak = Callable[[str], Pcm]
QUESTION = "Why is the sky blue?"


async def test_a_spoken_question_is_answered(hearing: OpenHearing, speak: Speak) -> None:
    async with hearing(FakeRecogniser("Why is", QUESTION), reply="Because.") as heard:
        await heard.say(speak(QUESTION), 0.8)
        await heard.talk.event(SpeechEnded)
        assert heard.finals == [QUESTION]
        assert heard.partials[0] == "Why is"
        events = heard.talk.of(Transcription)
        assert len({event.utterance_id for event in events}) == 1
        assert events[-1].final
        assert heard.talk.last_asked[-1]["content"] == QUESTION
        statuses = [event.status for event in heard.talk.of(ProcessingStatus)]
        assert statuses[0] == "listening"
        assert statuses[-3:] == ["thinking", "speaking", "idle"]


async def test_silence_and_noise_are_no_question(hearing: OpenHearing) -> None:
    recogniser = FakeRecogniser("nonsense")
    async with hearing(recogniser) as heard:
        noise = np.random.default_rng(1).normal(0, 300, 24_000).astype(np.int16)
        await heard.play(np.concatenate((noise, np.zeros(8_000, np.int16))))
        assert recogniser.asked == []
        assert heard.talk.events == []


async def test_speech_over_the_tutor_silences_it_and_is_answered(hearing: OpenHearing, speak: Speak) -> None:
    async with hearing(FakeRecogniser("No, wait."), reply=LONG) as heard:
        name = heard.talk.conversation.ask("Go on.")
        await heard.talk.words(2, name)
        await heard.say(speak("No, wait a moment, please."), 0.6)
        (ended,) = heard.talk.of(SpeechEnded, name)
        assert ended.reason == "interrupted"
        await until(lambda: len(heard.talk.server.asked) == 2)
        assert heard.talk.last_asked[-1]["content"] == "No, wait."
        assert "interrupted" in [event.status for event in heard.talk.of(ProcessingStatus)]


async def test_a_cough_does_not_interrupt(hearing: OpenHearing, speak: Speak) -> None:
    async with hearing(FakeRecogniser(""), reply=LONG) as heard:
        name = heard.talk.conversation.ask("Go on.")
        await heard.talk.words(2, name)
        cough = speak("Ha!")[:9_600]
        await heard.say(cough, 0.7)
        assert heard.talk.conversation.state is State.SPEAKING
        assert "interrupted" not in [event.status for event in heard.talk.of(ProcessingStatus)]


async def test_a_false_alarm_lets_the_tutor_go_on_from_where_it_stopped(hearing: OpenHearing, speak: Speak) -> None:
    reply = "Well now. " + " ".join(f"Word {n} of many." for n in range(10))
    async with hearing(FakeRecogniser(""), reply=reply) as heard:
        name = heard.talk.conversation.ask("What do plants eat?")
        await heard.talk.words(2, name)
        await heard.say(speak("Hmmmmm, hmm."), 0.2)
        assert heard.talk.conversation.state is State.INTERRUPTED
        ended = await heard.talk.event(SpeechEnded, name)
        assert (ended.reason, ended.heard) == ("finished", reply)
        assert heard.talk.of(Transcription) == []


async def test_a_pause_in_mid_sentence_does_not_end_the_turn(hearing: OpenHearing, speak: Speak) -> None:
    recogniser = FakeRecogniser(lambda seconds: "I would like to" if seconds < 1.9 else "I would like to know why.")
    async with hearing(recogniser, reply="Well.") as heard:
        first, second = speak("I would like to"), speak("know why.")
        await heard.say(first, 0.9)
        assert heard.finals == []
        await heard.say(second, 0.8)
        await until(lambda: bool(heard.finals))
        assert heard.finals == ["I would like to know why."]


async def test_a_turn_that_goes_on_before_its_words_are_known_stays_one(hearing: OpenHearing, speak: Speak) -> None:
    recogniser = FakeRecogniser(lambda seconds: f"{seconds:.0f} seconds.", delay=1.3)
    async with hearing(recogniser, reply="Well.") as heard:
        await heard.say(speak("I have a question."), 1.0)
        assert heard.talk.conversation.state is State.WAITING
        await heard.say(speak("It is about the colour of the sky in the evening."), 0.5)
        await until(lambda: bool(heard.finals))
        await asyncio.sleep(0.2)
        (final,) = heard.finals
        assert float(final.split()[0]) > 4
        assert len(heard.talk.server.asked) == 1


async def test_the_microphone_stops_in_mid_speech(hearing: OpenHearing, speak: Speak) -> None:
    """Push to talk: nothing more comes, not even silence."""
    async with hearing(FakeRecogniser("Yes, please."), reply="Good.") as heard:
        await heard.say(speak("Yes, please, I would like that."))
        await until(lambda: heard.finals == ["Yes, please."])


async def test_a_recogniser_that_fails_is_told_and_the_session_lives(hearing: OpenHearing, speak: Speak) -> None:
    recogniser = FakeRecogniser("Yes.")
    recogniser.fail = True
    async with hearing(recogniser, reply=LONG) as heard:
        name = heard.talk.conversation.ask("Go on.")
        await heard.talk.words(1, name)
        await heard.say(speak("Why is the sky blue?"), 1.2)
        problem = await heard.talk.event(Problem)
        assert problem.code == "recogniser_failed"
        await until(lambda: heard.talk.conversation.state is State.SPEAKING)
        recogniser.fail = False
        await heard.say(speak("Why is the sky blue?"), 0.8)
        await until(lambda: heard.finals == ["Yes."])


async def test_the_microphone_that_began_last_is_heard(hearing: OpenHearing, speak: Speak) -> None:
    async with hearing(FakeRecogniser("Yes."), reply="Good.") as heard:
        first, second = heard.inlet, heard.hearing.open()
        await heard.say(np.zeros(9_600, np.int16))
        heard.inlet = second
        await heard.say(np.zeros(9_600, np.int16))
        heard.inlet = first
        await heard.say(speak("Why is the sky blue?"), 0.8)
        assert heard.finals == []
        heard.inlet = second
        await heard.say(speak("Why is the sky blue?"), 0.8)
        await until(lambda: heard.finals == ["Yes."])
        second.close()


async def test_a_clip_is_answered(hearing: OpenHearing, speak: Speak) -> None:
    recogniser = FakeRecogniser("Why?")
    async with hearing(recogniser, reply="Because.") as heard:
        name = heard.hearing.clip(np.full(16_000, 5_000, np.int16))
        assert await heard.talk.event(Transcription) == Transcription(name, "Why?", True)
        await heard.talk.event(SpeechStarted)
        name = heard.hearing.clip(np.zeros(16_000, np.int16))
        problem = await heard.talk.event(Problem)
        assert (problem.code, problem.utterance_id) == ("no_words", name)
        assert heard.finals == ["Why?", ""]


async def test_closing_leaves_nothing_behind(hearing: OpenHearing, speak: Speak) -> None:
    recogniser = FakeRecogniser("Yes.", delay=5)
    async with hearing(recogniser, reply=LONG) as heard:
        await heard.say(speak("Why is the sky"))
        heard.hearing.clip(np.full(16_000, 5_000, np.int16))
        await until(lambda: recogniser.open == 2)
        await heard.hearing.close()
        assert recogniser.open == 0
        await heard.say(speak("Hello?"))
        assert heard.talk.of(Interrupted) == []


@pytest.mark.timeout(120)
async def test_a_spoken_question_with_the_real_recogniser(hearing: OpenHearing, speak: Speak, whisper: Path) -> None:
    recogniser = WhisperRecogniser(WhisperSettings(whisper, "en"))
    try:
        await recogniser.transcribe(np.zeros(1_600, np.int16), urgent=True)
        async with hearing(recogniser, reply="Because.") as heard:
            await heard.say(speak(QUESTION), 0.5)
            start = time.monotonic()
            await until(lambda: bool(heard.finals))
            print(f"final after {time.monotonic() - start:.2f} s; partial results: {heard.partials}")
            assert heard.finals == [QUESTION]
            await until(lambda: bool(heard.talk.server.asked))
            assert heard.talk.last_asked[-1]["content"] == QUESTION
    finally:
        await recogniser.close()
