"""Turns of a real live session as traces: every stage is marked, in its order, with times that are right."""

from __future__ import annotations

import asyncio
import time

import pytest

from pipeline import turns
from pipeline.events import Interrupted, SpeechEnded
from pipeline.trace import STAGES, Interruption, Turn
from tests.conversation.conftest import OpenTalk, Talk
from tests.pipeline.receiver import Receiver

REPLY = "Plants need water and light. They also need air, and some patience."


def turn_of(talk: Talk, utterance: str) -> Turn:
    (turn,) = [each for each in talk.traced if isinstance(each, Turn) and each.utterance_id == utterance]
    return turn


def interruptions(talk: Talk) -> list[Interruption]:
    return [each for each in talk.traced if isinstance(each, Interruption)]


async def test_a_typed_question(talking: OpenTalk) -> None:
    async with talking(reply=REPLY, first_token=0.2, speed=40) as talk, Receiver(talk.live.join()):
        ended = await talk.answered("What do plants need?")
        turn = turn_of(talk, ended.utterance_id)
        assert (turn.kind, turn.outcome, turn.characters) == ("typed", "finished", len(REPLY))
        assert list(turn.stages) == [stage for stage in STAGES if stage != "words"]
        times = [turn.stages[stage] for stage in ("model", "sentence", "voice", "sound")]
        assert times == sorted(times)
        assert turn.stages["model"] >= 0.2, "as long as the model's server thinks"
        assert turn.stages["sentence"] > turn.stages["model"], "a sentence of 28 characters at 40 a second"
        assert turn.stages["mouth"] > turn.stages["voice"]
        assert turn.spoken == pytest.approx(ended.position)
        assert turn.seconds > turn.stages["sound"] + turn.spoken - 0.1


async def test_a_spoken_question_begins_at_the_end_of_the_speech(talking: OpenTalk) -> None:
    async with talking(reply="Yes.") as talk:
        talk.conversation.student_started()
        talk.conversation.student_stopped(time.monotonic() - 0.4)  # silence was decided that much later
        talk.conversation.words("can you hear me", final=True)
        ended = await talk.event(SpeechEnded)
        turn = turn_of(talk, ended.utterance_id)
        assert turn.kind == "spoken"
        assert turn.stages["words"] >= 0.4
        assert turn.stages["sound"] > turn.stages["words"]
        assert turn.say_to_sound == turn.stages["sound"]
        typed = turn_of(talk, (await talk.answered("And now?")).utterance_id)
        assert typed.kind == "typed", "the next one is not spoken because the last one was"


async def test_the_button_silences_at_once(talking: OpenTalk) -> None:
    async with talking(reply=REPLY * 4) as talk, Receiver(talk.live.join()):
        name = talk.conversation.ask("Go on.")
        await talk.words(3, name)
        talk.conversation.interrupt()
        await talk.event(Interrupted)
        (found,) = interruptions(talk)
        assert found.by == "request"
        assert found.seconds <= 0.021, "the end of the 20 ms that had left"
        assert turn_of(talk, name).outcome == "interrupted"


async def test_a_voice_silences_after_its_guard(talking: OpenTalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "GUARD_SECONDS", 0.2)
    async with talking(reply=REPLY * 4) as talk, Receiver(talk.live.join()):
        name = talk.conversation.ask("Go on.")
        await talk.words(3, name)
        began = time.monotonic()
        talk.conversation.student_started()
        await talk.until(lambda: talk.conversation.status == "interrupted")
        held = time.monotonic() - began
        await asyncio.sleep(0.3)  # the recogniser takes its time: the tutor is silent already
        talk.conversation.student_stopped()
        talk.conversation.words("wait", final=True)
        await talk.event(Interrupted)
        (found,) = interruptions(talk)
        assert found.by == "voice"
        assert 0.1 < found.seconds < held + 0.2, "the time that the words took is not counted"
