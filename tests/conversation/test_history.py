"""What the model is told of the conversation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.history import MARK, MESSAGE_TOKENS, History, Message, tokens
from pipeline.persona import Persona
from pipeline.voices.words import joined


def test_turns_as_messages() -> None:
    history = History(1000)
    history.student("What is a verb?")
    history.answering("u1")
    assert history.messages("S") == [Message("system", "S"), Message("user", "What is a verb?")]
    history.answered("u1", "A doing word.", interrupted=False)
    history.student("And a noun?")
    assert [message.role for message in history.messages("S")] == ["system", "user", "assistant", "user"]
    assert history.messages("S")[2].content == "A doing word."


def test_an_interrupted_answer_keeps_what_was_heard_and_the_mark() -> None:
    history = History(1000)
    for name, heard in (("u1", "Plants take in"), ("u2", "")):
        history.student("Why?")
        history.answering(name)
        history.answered(name, heard, interrupted=True)
    assert [message.content for message in history.messages("S")] == [
        "S",
        "Why?",
        f"Plants take in {MARK}",
        "Why?",
        MARK,
    ]
    history.answered("u1", "told twice", interrupted=False)
    assert history.turns[1].text == "Plants take in"


def test_what_the_tutor_said_by_itself_is_known_to_the_model() -> None:
    history = History(1000)
    history.tutor("Welcome to the lesson.")
    history.tutor("")
    history.student("Hello.")
    history.tutor("One moment.", interrupted=True)
    history.tutor("Here I am.")
    messages = history.messages("S")
    assert messages[0].content == "S\n\nYou have already said to the student: Welcome to the lesson."
    assert messages[1:] == [Message("user", "Hello."), Message("assistant", f"One moment. {MARK}\nHere I am.")]


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=200)), max_size=30), st.integers(200, 500))
@settings(max_examples=60, deadline=None)
def test_it_is_bounded_and_alternates_and_the_newest_stays(turns: list[tuple[bool, str]], limit: int) -> None:
    history = History(limit)
    for number, (student, text) in enumerate(turns):
        if student:
            history.student(f"q{text}")
        else:
            history.answering(str(number))
            history.answered(str(number), f"a{text}", interrupted=False)
    messages = history.messages("S")
    roles = [message.role for message in messages[1:]]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    kept = history.turns
    assert len(kept) <= 2 or sum(tokens(turn.told) for turn in kept) <= limit
    expected = [("q" if student else "a") + text for student, text in turns]
    assert [turn.text for turn in kept] == expected[len(expected) - len(kept) :]


def test_the_oldest_turns_go_first_and_the_newest_two_always_stay() -> None:
    history = History(200)
    for number in range(50):
        history.student(f"question {number}")
        history.tutor(f"answer {number}")
    kept = [turn.text for turn in history.turns]
    assert kept[-2:] == ["question 49", "answer 49"]
    cost = [tokens(text) + MESSAGE_TOKENS for text in kept]
    assert 200 - cost[0] < sum(cost) <= 200
    history.student("long " * 500)
    assert [turn.role for turn in history.turns] == ["tutor", "student"]


def test_the_estimate_lies_above_the_rule_of_thumb() -> None:
    english = "Photosynthesis is how plants make their food. They take in water through their roots."
    assert tokens(english) > len(english) / 4
    assert tokens("植物通过光合作用制造自己的食物") > len("植物通过光合作用制造自己的食物")
    assert tokens("") == 0


def test_a_persona_says_the_language_and_how_to_speak() -> None:
    prompt = Persona("You teach maths.", language="Chinese").prompt
    assert prompt.startswith("You teach maths.\n\nAnswer in Chinese.")
    assert MARK in prompt
    assert "the language that the student uses" in Persona().prompt


def test_words_are_joined_as_they_are_written() -> None:
    assert joined(["What", "is", "it", "?"]) == "What is it?"
    assert joined(["你好", "，", "我是", "Ada。", "Hello", "there."]) == "你好，我是Ada。Hello there."
    assert joined([]) == ""
