"""Talking with the tutor: answered while the model writes, interrupted at any word, told when the model fails."""

from __future__ import annotations

import asyncio
import time

import pytest

from pipeline import turns
from pipeline.events import (
    Caption,
    Interrupted,
    Problem,
    ProcessingStatus,
    SpeechEnded,
    SpeechStarted,
    TextComplete,
    TextStream,
)
from pipeline.history import MARK
from pipeline.language_model import Repeater
from pipeline.session import SessionClosed
from pipeline.turns import State
from tests.conversation.conftest import OpenTalk, Talk
from tests.conversation.model_server import Switches
from tests.pipeline.receiver import Receiver
from tests.rtc.clients import until

LONG = "Well now. " + " ".join(f"Word {n} of many, and then {n} more." for n in range(30))
VOICED = 0.05


async def test_an_answer_is_spoken_while_it_is_written(talking: OpenTalk) -> None:
    reply = "Plants eat light. They drink water too. That is all."
    async with talking(reply=reply, wait_at=8, settings={"temperature": 0.1}) as talk:
        name = talk.conversation.ask("What do plants eat?")
        await talk.event(SpeechStarted, name)
        talk.server.go.set()
        ended = await talk.event(SpeechEnded, name)
        kinds = [type(event) for event in talk.events]
        assert kinds.index(SpeechStarted) < kinds.index(TextComplete), "sound before the answer is complete"
        (complete,) = talk.of(TextComplete)
        assert "".join(event.text for event in talk.of(TextStream, name)) == complete.text == reply
        assert (complete.reason, complete.demonstration) == ("finished", False)
        assert (ended.reason, ended.heard) == ("finished", reply)
        assert [event.status for event in talk.of(ProcessingStatus)] == ["thinking", "speaking", "idle"]
        assert talk.english.asked[0] == "Plants eat light.", "the first sentence by itself"

        talk.server.switches = Switches(reply="No.")
        await talk.answered("And what else?")
        assert [message["content"] for message in talk.last_asked[1:]] == [
            "What do plants eat?",
            reply,
            "And what else?",
        ]
        assert talk.server.asked[-1]["metadata"] == {"kb_id": "kb-1"}
        assert talk.last_asked[0]["role"] == "system"


def words_sent(talk: Talk, ended: SpeechEnded) -> list[str]:
    """The words of which at least half was sent, by what the captions and the position said."""
    captions = talk.of(Caption, ended.utterance_id)
    return [caption.word for caption in captions if (caption.start + caption.end) / 2 <= ended.position + 1e-6]


async def test_history_keeps_the_words_that_were_heard(talking: OpenTalk) -> None:
    async with talking(reply=LONG) as talk:
        for words in (1, 3, 4, 7):
            name = talk.conversation.ask("Go on.")
            await talk.words(words, name)
            assert talk.conversation.interrupt() == talk.live.generation
            (ended,) = talk.of(SpeechEnded, name)
            assert ended.reason == "interrupted"
            turn = talk.conversation.history.turns[-1]
            assert turn.interrupted
            assert turn.text.split() == words_sent(talk, ended) == LONG.split()[: len(turn.text.split())]
            assert len(turn.text.split()) >= words - 1
        talk.conversation.ask("And now?")
        await until(lambda: len(talk.server.asked) == 5)
        assert talk.last_asked[-2] == {"role": "assistant", "content": f"{turn.text} {MARK}"}


async def test_interrupted_before_a_word_was_heard(talking: OpenTalk) -> None:
    async with talking(reply=LONG, first_token=30) as talk:
        name = talk.conversation.ask("Why?")
        assert talk.conversation.state is State.THINKING
        await until(lambda: talk.server.open == 1)
        talk.conversation.interrupt()
        assert talk.of(SpeechEnded, name)[0].heard == ""
        assert talk.of(TextComplete, name) == [TextComplete(name, "", "interrupted")]
        assert talk.conversation.history.turns[-1].told == MARK
        assert talk.conversation.status == "idle"
        await until(lambda: talk.server.hung_up == 1)


async def test_an_interruption_cancels_the_model_and_the_voice(talking: OpenTalk) -> None:
    async with talking(reply=LONG, speed=60) as talk:
        name = talk.conversation.ask("Go on.")
        await talk.words(2, name)
        await until(lambda: (talk.server.open, talk.english.open) == (1, 1))
        talk.conversation.interrupt()
        await until(lambda: (talk.server.open, talk.english.open) == (0, 0))
        assert talk.server.hung_up == 1
        streamed = len(talk.of(TextStream))
        assert talk.of(TextComplete)[0].reason == "interrupted"
        assert (await talk.event(Interrupted)).utterance_ids == [name]
        await asyncio.sleep(0.1)
        assert len(talk.of(TextStream)) == streamed, "nothing of it comes any more"


async def test_a_question_over_the_answer_takes_its_place(talking: OpenTalk) -> None:
    async with talking(reply=LONG) as talk:
        first = talk.conversation.ask("Go on.")
        await talk.words(2, first)
        second = talk.conversation.ask("No, stop. What is one and one?")
        assert talk.of(SpeechEnded, first)[0].reason == "interrupted"
        await talk.words(1, second)
        assert talk.last_asked[-2]["content"].endswith(MARK)
        assert talk.live.generation == 1


async def test_twenty_interruptions_in_a_row_leave_nothing_behind(talking: OpenTalk) -> None:
    async with talking(reply=LONG, speed=200) as talk:
        before = len(asyncio.all_tasks())
        for number in range(20):
            talk.conversation.ask(f"Question {number}?")
            if number % 3 == 0:
                await asyncio.sleep(0.01 * number)
            assert talk.conversation.interrupt() == number + 1
        await until(lambda: (talk.server.open, talk.english.open) == (0, 0))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        assert len(talk.of(SpeechEnded)) == len(talk.of(TextComplete)) == 20
        assert talk.live.stats().utterances == 0
        heard = talk.of(SpeechStarted)
        talk.server.switches = Switches(reply="Still here.")
        assert (await talk.answered("Are you there?")).heard == "Still here."
        assert talk.of(SpeechStarted)[len(heard) :][0].generation == 20


@pytest.mark.parametrize("failure", ["cut", "end"])
async def test_a_model_that_goes_away_in_mid_sentence(talking: OpenTalk, failure: str) -> None:
    async with talking(reply="Light. They also need a lot", fail_after=4, failure=failure) as talk:
        ended = await talk.answered("What do plants eat?")
        sentence = "I am sorry, I have lost the thread. Please ask me again."
        (problem,) = talk.of(Problem)
        assert (problem.code, problem.message, problem.utterance_id) == ("model_cut", sentence, ended.utterance_id)
        assert ended.heard == f"Light. They also need {sentence}"
        assert talk.of(TextComplete)[0].reason == "failed"
        talk.server.switches = Switches(reply="Light.")
        assert (await talk.answered("Again?")).heard == "Light."
        assert sentence in talk.last_asked[2]["content"]


async def test_a_model_that_refuses_is_told_in_the_students_language(talking: OpenTalk) -> None:
    async with talking(status=401) as talk:
        ended = await talk.answered("植物吃什么？")
        assert talk.of(Problem)[0].code == "model_refused"
        assert ended.heard == "对不起，我还没有设置好，不能回答。请告诉你的老师。"
        assert talk.chinese.asked == ["对不起，我还没有设置好，不能回答。", "请告诉你的老师。"]
        assert talk.conversation.status == "idle"


async def test_a_model_that_does_not_begin_in_time(talking: OpenTalk) -> None:
    async with talking(first_token=60, settings={"first_token_seconds": 0.2}) as talk:
        ended = await talk.answered("What do plants eat?")
        assert talk.of(Problem)[0].code == "model_timeout"
        assert ended.heard == "I am sorry, this is taking me too long. Please ask me again."


async def test_chinese_and_english_in_one_answer_each_get_a_voice_that_can_say_them(talking: OpenTalk) -> None:
    reply = "Of course! 苹果是红色的。 That means it is red. 再见。"
    async with talking(reply=reply, speed=100) as talk:
        ended = await talk.answered("What does it mean?")
        assert talk.english.asked == ["Of course!", "That means it is red."]
        assert talk.chinese.asked == ["苹果是红色的。", "再见。"]
        assert not talk.of(Problem)
        assert ended.heard == "Of course!苹果是红色的。That means it is red.再见。"
        assert talk.conversation.history.turns[-1].text == reply


async def test_what_no_voice_could_say_was_not_heard(talking: OpenTalk) -> None:
    async with talking(reply="Listen well. Это очень просто. That is all.") as talk:
        ended = await talk.answered("What does it mean?")
        assert talk.of(Problem)[0].code == "cannot_say"
        turn = talk.conversation.history.turns[-1]
        assert turn.text == ended.heard == "Listen well. That is all."
        assert not turn.interrupted


async def test_without_a_model_the_tutor_repeats(talking: OpenTalk) -> None:
    async with talking(model=Repeater()) as talk:
        ended = await talk.answered("What is a verb?")
        assert ended.heard == "What is a verb?"
        assert talk.of(TextStream) == [TextStream(ended.utterance_id, "What is a verb?", demonstration=True)]
        assert talk.of(TextComplete)[0].demonstration


async def test_speech_over_the_tutor_and_its_words_are_the_next_question(
    talking: OpenTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "GUARD_SECONDS", 0.1)
    async with talking(reply=LONG) as talk:
        first = talk.conversation.ask("Go on.")
        await talk.words(2, first)
        talk.conversation.student_started()
        await talk.until(lambda: talk.conversation.status == "interrupted")
        talk.conversation.student_stopped()
        talk.conversation.words("but", final=False)
        assert talk.of(SpeechEnded, first)[0].reason == "interrupted"
        assert talk.conversation.status == "waiting"
        talk.conversation.words("but why", final=True)
        await until(lambda: len(talk.server.asked) == 2)
        assert talk.last_asked[-1] == {"role": "user", "content": "but why"}
        assert talk.last_asked[-2]["content"].endswith(MARK)
        statuses = [event.status for event in talk.of(ProcessingStatus)]
        assert statuses[:5] == ["thinking", "speaking", "interrupted", "waiting", "thinking"]
        await talk.until(lambda: len(talk.of(SpeechStarted)) == 2)
        assert talk.of(SpeechStarted)[1].generation == 1, "what was held does not hold the next answer"


async def test_a_false_alarm_goes_on_from_where_it_stopped(talking: OpenTalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "GUARD_SECONDS", 0.1)
    monkeypatch.setattr(turns, "WORDS_SECONDS", 0.5)
    reply = "One two three four five six seven eight nine ten eleven twelve."
    async with talking(reply=reply, word_seconds=0.12) as talk, Receiver(talk.live.join()) as seen:
        name = talk.conversation.ask("Count.")
        await talk.words(3, name)
        talk.conversation.student_started()
        await talk.until(lambda: talk.conversation.status == "interrupted")
        silent_from = time.monotonic()
        talk.conversation.student_stopped()
        await talk.until(lambda: talk.conversation.status == "speaking")
        silent_to = time.monotonic()
        assert silent_to - silent_from >= 0.45
        voiced = [at for _, rms, at in seen.sounds if rms > VOICED and silent_from + 0.2 < at < silent_to]
        assert voiced == [], "silence on the wire"
        ended = await talk.event(SpeechEnded, name)
        assert (ended.reason, ended.heard) == ("finished", reply)
        assert [event.word for event in talk.of(Caption, name)] == reply.split()
        assert ended.position == pytest.approx(12 * 0.12, abs=0.05)
        assert talk.live.generation == 0
        assert not talk.of(Interrupted)


async def test_what_the_tutor_was_made_to_say_is_part_of_the_conversation(talking: OpenTalk) -> None:
    async with talking(reply="Yes.") as talk:
        await talk.event(SpeechEnded, talk.live.say("Welcome to the lesson."))
        await talk.answered("Hello.")
        assert "Welcome to the lesson." in talk.last_asked[0]["content"]


async def test_closing_in_mid_answer(talking: OpenTalk) -> None:
    async with talking(reply=LONG, speed=40) as talk:
        name = talk.conversation.ask("Go on.")
        await talk.words(2, name)
        await talk.conversation.close()
        await talk.live.close()
        ended = talk.of(SpeechEnded, name)[0]
        assert ended.reason == "interrupted"
        assert talk.conversation.history.turns[-1].text.split() == words_sent(talk, ended)
        await until(lambda: talk.server.open == 0)
        with pytest.raises(SessionClosed):
            talk.conversation.ask("Anyone?")
