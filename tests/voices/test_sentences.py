"""Sentences: where they end, how long they are, that nothing is lost and that pieces make no difference."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.sentences import MAX_LENGTH, SentenceSplitter, bounded, split_sentences, tidy


def sentences(text: str) -> list[str]:
    return list(split_sentences(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ("Dr. Smith met Mrs. Jones. They spoke.", ["Dr. Smith met Mrs. Jones.", "They spoke."]),
        ("It costs $3.14, i.e. 3.5 times. Yes.", ["It costs $3.14, i.e. 3.5 times.", "Yes."]),
        ("See example.com/a?b=c. Then go.", ["See example.com/a?b=c.", "Then go."]),
        ("J. K. Rowling wrote it. We read.", ["J. K. Rowling wrote it.", "We read."]),
        ("The U.S. President spoke. We left.", ["The U.S. President spoke.", "We left."]),
        ("He lives in the U.S. He works.", ["He lives in the U.S.", "He works."]),
        ("It is 5 p.m. now. Wait... what?", ["It is 5 p.m. now.", "Wait... what?"]),
        ("No. 5 is alive. Apples, etc. are good.", ["No. 5 is alive.", "Apples, etc. are good."]),
        ('He said "Stop!" and left. Then', ['He said "Stop!" and left.', "Then"]),
        ("你好。今天学习数学！准备好了吗？好；开始", ["你好。", "今天学习数学！", "准备好了吗？", "好；", "开始"]),
        ("OK.你好。Fine.", ["OK.", "你好。", "Fine."]),
        ("1. Open it.\n2. Read it.", ["1. Open it.", "2. Read it."]),
        ("A title\n\nThe text\nwraps here.", ["A title", "The text wraps here."]),
        ("- one\n- two", ["one", "two"]),
        ("", []),
        (" \n\t ", []),
        ("...", ["..."]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_the_first_sentence_may_end_at_a_clause() -> None:
    text = "Hello there my dear students, today we will talk about how plants make their food. And so on, and so on."
    first, *rest = sentences(text)
    assert first == "Hello there my dear students,"
    assert rest[1] == "And so on, and so on."


def test_the_first_clause_of_a_stream_comes_before_its_sentence_ends() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there my dear students, today we will talk about how") == []
    assert splitter.feed(" green plants") == ["Hello there my dear students,"]
    assert splitter.feed(" grow. ") == []
    assert splitter.feed("They") == ["today we will talk about how green plants grow."]
    assert splitter.finish() == ["They"]
    assert splitter.finish() == []


def test_markup_is_not_spoken() -> None:
    assert tidy("## **Bold** and `code`, see [the page](https://x.y/z?a=1).") == "Bold and code, see the page."
    assert tidy('<p class="x">Hi <b>you</b></p>') == "Hi you"
    assert tidy("2 * 3 < 7 and a_b > c") == "2 * 3 < 7 and a_b > c"


def test_control_characters_are_removed() -> None:
    assert sentences("He\x00llo\u200b \x1b[1mthere\ud800.\u202e") == ["He llo [1mthere."]


def test_long_text_without_ends_is_bounded() -> None:
    words = " ".join(["word"] * 500)
    for text in (words, "a" * 10_000, "字" * 1000, "e\u0301" * 700, "," * 900, "\u0301" * 900):
        pieces = sentences(text)
        assert all(len(piece) <= MAX_LENGTH for piece in pieces)
        assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)


def test_a_megabyte_is_cut_lazily() -> None:
    text = "This is a sentence, and it is not long. " * 250_000  # 10 MB
    begin = time.process_time()
    stream = split_sentences(text)
    assert next(stream) == "This is a sentence, and it is not long."
    for _ in range(1000):
        next(stream)
    assert time.process_time() - begin < 5  # cutting is linear: a quadratic cut takes minutes


_PLAIN = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(' \n.,!?;:。！？；，、—…"”’()aAbZ1你好')),
        st.characters(exclude_characters="*_~`#<>[]-•+", exclude_categories=["Cc", "Cf", "Cs"]),
    ),
    max_size=900,
)


def visible(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=200, deadline=None)
@given(_PLAIN)
def test_nothing_is_lost_but_white_space(text: str) -> None:
    pieces = sentences(text)
    assert visible("".join(pieces)) == visible(text)
    assert all(piece == piece.strip() and 0 < len(piece) <= MAX_LENGTH for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=900), st.lists(st.integers(1, 40), max_size=60))
@example("we meet at four p.m. [Bob says so]. And so on.", [22])
@example("is this a sentence that goes on for more than sixty characters or not? - Then more", [1] * 90)
def test_pieces_make_no_difference(text: str, sizes: list[int]) -> None:
    splitter = SentenceSplitter()
    got: list[str] = []
    at = 0
    for size in [*sizes, len(text)]:
        got += splitter.feed(text[at : at + size])
        at += size
    assert [*got, *splitter.finish()] == sentences(text)


_WORDS = 'Mr. U.S. p.m. J. etc. the The cat, sat. on. 3.14 you? 1. - # No. 字。 " “ ”. word ;'
_ENGLISH = st.lists(st.sampled_from([*_WORDS.split(" "), "\n", "\n\n"]), max_size=120).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(_ENGLISH, st.integers(1, 7))
def test_tokens_of_english_make_no_difference(text: str, size: int) -> None:
    splitter = SentenceSplitter()
    got = [s for at in range(0, len(text), size) for s in splitter.feed(text[at : at + size])]
    assert [*got, *splitter.finish()] == sentences(text)


@given(st.text(max_size=400), st.integers(20, 120))
def test_bounded_pieces(text: str, limit: int) -> None:
    pieces = list(bounded(text, limit))
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert visible("".join(pieces)) == visible(text)
