"""A session's events as RTVI messages: who speaks, what is written, what has been heard."""

from __future__ import annotations

from typing import Any

from pipeline.events import (
    Caption,
    Event,
    Interrupted,
    OutputStarted,
    Problem,
    ProcessingStatus,
    RecordingStarted,
    RecordingStopped,
    SpeechEnded,
    SpeechStarted,
    TextComplete,
    TextStream,
    Transcription,
)
from server.rtvi.translator import MOST_UTTERANCES, Translator

NOW = "2026-01-01T00:00:00.000+00:00"


def told(translator: Translator, *events: Event) -> list[dict[str, Any]]:
    return [each for event in events for each in translator.translate(event, NOW)]


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in messages]


def outputs(messages: list[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    """Of each bot-output: segment, status, what was heard, what was not."""
    return [
        (
            each["data"]["segment_id"],
            each["data"]["spoken_status"],
            each["data"]["spoken_progress"]["accumulated_text"],
            each["data"]["spoken_progress"]["remaining_text"],
        )
        for each in messages
        if each["type"] == "bot-output"
    ]


def words(utterance: str, text: str) -> list[Event]:
    return [Caption(utterance, index, word, 0.1 * index, 0.1) for index, word in enumerate(text.split())]


def status(name: str) -> ProcessingStatus:
    return ProcessingStatus(name)


def test_an_answer_from_its_first_token_to_its_last_word() -> None:
    translator = Translator("s1")
    writing = told(
        translator,
        status("thinking"),
        TextStream("u1", "Good morn"),
        TextStream("u1", "ing. The sky"),
    )
    assert kinds(writing) == ["bot-llm-started", "bot-llm-text", "bot-llm-text"]
    assert [each["data"] for each in writing[1:]] == [{"text": "Good morn"}, {"text": "ing. The sky"}]
    assert all(each["label"] == "rtvi-ai" for each in writing)

    begun = told(translator, SpeechStarted("u1", 0), status("speaking"))
    assert kinds(begun) == ["bot-tts-started", "bot-started-speaking", "bot-output", "bot-transcription"]
    assert outputs(begun) == [(1, "new", "", "Good morning.")]
    assert begun[-1]["data"] == {"text": "Good morning."}

    first = told(translator, *words("u1", "Good morning."))
    assert [each["data"]["text"] for each in first if each["type"] == "bot-tts-text"] == ["Good", "morning."]
    assert outputs(first) == [(1, "in-progress", "Good", " morning."), (1, "completed", "Good morning.", "")]

    rest = told(translator, TextStream("u1", " is blue."), TextComplete("u1", "Good morning. The sky is blue."))
    assert kinds(rest) == ["bot-llm-text", "bot-llm-stopped", "bot-output", "bot-transcription"]
    assert outputs(rest) == [(2, "new", "", "The sky is blue.")]

    heard = told(translator, *words("u1", "The sky is blue."))
    assert outputs(heard)[-1] == (2, "completed", "The sky is blue.", "")
    over = told(translator, SpeechEnded("u1", 0, "finished", 2.0, "Good morning. The sky is blue."), status("idle"))
    assert kinds(over) == ["bot-tts-stopped", "bot-stopped-speaking"]


def test_a_text_that_is_known_at_once_is_told_in_sentences() -> None:
    begun = told(Translator("s1"), SpeechStarted("u1", 0, "One is here. Two is there."))
    assert outputs(begun) == [(1, "new", "", "One is here."), (2, "new", "", "Two is there.")]


def test_the_sentences_of_further_utterances_have_numbers_of_their_own() -> None:
    translator = Translator("s1")
    told(translator, SpeechStarted("u1", 0, "One."), SpeechEnded("u1", 0, "finished", 1.0, "One."))
    assert outputs(told(translator, SpeechStarted("u2", 0, "Two."))) == [(2, "new", "", "Two.")]


def test_what_was_cut_off_is_not_completed() -> None:
    translator = Translator("s1")
    told(translator, SpeechStarted("u1", 0, "We count to three."), *words("u1", "We count"))
    ended = told(translator, Interrupted(1, ["u1"]), SpeechEnded("u1", 0, "interrupted", 0.5, "We count"))
    assert kinds(ended) == ["bot-tts-stopped", "bot-stopped-speaking"]


def test_a_word_that_no_voice_says_does_not_hold_up_the_sentences_after_it() -> None:
    translator = Translator("s1")
    told(translator, SpeechStarted("u1", 0, "你好吗？ Then it goes on."))
    heard = outputs(told(translator, *words("u1", "Then it")))
    assert heard[0] == (1, "completed", "你好吗？", "")
    assert heard[-1] == (2, "in-progress", "Then it", " goes on.")
    assert outputs(told(translator, Caption("u1", 9, "elsewhere", 0, 1))) == []
    ended = told(translator, SpeechEnded("u1", 0, "finished", 1.0, "Then it goes on."))
    assert outputs(ended) == [(2, "completed", "Then it goes on.", "")]


def test_the_students_speech_and_its_words() -> None:
    translator = Translator("s1")
    heard = told(
        translator,
        status("listening"),
        Transcription("t1", "Why is", final=False),
        status("waiting"),
        Transcription("t1", "Why is it blue?", final=True),
        status("thinking"),
    )
    assert kinds(heard) == [
        "user-started-speaking",
        "user-transcription",
        "user-stopped-speaking",
        "user-transcription",
        "user-llm-text",
    ]
    assert heard[1]["data"] == {"text": "Why is", "final": False, "timestamp": NOW, "user_id": "s1"}
    assert heard[3]["data"]["final"] is True
    assert heard[4]["data"] == {"text": "Why is it blue?"}
    assert told(translator, Transcription("t2", "", final=True)) == []


def test_a_false_alarm_lets_the_tutor_go_on() -> None:
    translator = Translator("s1")
    told(translator, SpeechStarted("u1", 0, "We count to three."), status("speaking"))
    assert kinds(told(translator, status("interrupted"))) == ["user-started-speaking", "bot-stopped-speaking"]
    assert kinds(told(translator, status("speaking"))) == ["user-stopped-speaking", "bot-started-speaking"]
    ended = told(translator, SpeechEnded("u1", 0, "finished", 1.0, "We count to three."))
    assert kinds(ended) == ["bot-output", "bot-tts-stopped", "bot-stopped-speaking"]


def test_an_interruption_by_voice_tells_the_end_once() -> None:
    translator = Translator("s1")
    told(translator, SpeechStarted("u1", 0, "We count."), status("speaking"), status("interrupted"))
    ended = told(translator, SpeechEnded("u1", 0, "interrupted", 0.4, ""), Interrupted(1, ["u1"]), status("thinking"))
    assert kinds(ended) == ["bot-tts-stopped", "user-stopped-speaking"]


def test_what_waits_and_is_dropped_was_never_heard() -> None:
    translator = Translator("s1")
    assert told(translator, SpeechEnded("u7", 0, "interrupted", 0.0, "")) == []


def test_an_answer_that_failed_before_its_first_word() -> None:
    failed = told(
        Translator("s1"),
        Problem("model_timeout", "I cannot think of an answer.", "u1"),
        TextComplete("u1", "", "failed"),
    )
    assert kinds(failed) == ["error"]
    assert failed[0]["data"] == {
        "error": "I cannot think of an answer.",
        "message": "I cannot think of an answer.",
        "fatal": False,
        "code": "model_timeout",
    }


def test_a_client_that_comes_in_the_middle_is_told_who_speaks_and_hears_the_end() -> None:
    translator = Translator("s1", "speaking")
    assert kinds(translator.now()) == ["bot-started-speaking"]
    assert kinds(told(translator, Caption("u1", 4, "three.", 1, 2))) == ["bot-tts-text"]
    assert kinds(told(translator, SpeechEnded("u1", 0, "finished", 1.0, ""))) == [
        "bot-tts-stopped",
        "bot-stopped-speaking",
    ]
    assert translator.now() == []
    assert kinds(Translator("s1", "listening").now()) == ["user-started-speaking"]
    assert kinds(Translator("s1", "interrupted").now()) == ["user-started-speaking"]


def test_texts_that_are_never_heard_do_not_pile_up() -> None:
    translator = Translator("s1")
    for number in range(100):
        told(translator, TextStream(f"u{number}", "Word. "))
    assert len(translator._texts) == MOST_UTTERANCES


def test_recordings_and_outputs_are_told() -> None:
    translator = Translator("s1")
    messages = told(translator, RecordingStarted("r1"), OutputStarted("o1"), RecordingStopped("r1", "stopped"))
    assert kinds(messages) == ["server-message"] * 3
    assert messages[0]["data"] == {"type": "recording_started", "recording_id": "r1"}
    assert messages[2]["data"]["reason"] == "stopped"
