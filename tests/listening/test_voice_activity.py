"""When the student speaks, decided on chances alone: beginnings, pauses, ends, coughs; and no stuck state ever."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import voice_activity
from pipeline.turns import GUARD_SECONDS
from pipeline.voice_activity import (
    CHUNK_SECONDS,
    GAP_SECONDS,
    LATEST,
    MOST_SECONDS,
    ONSET_SECONDS,
    SOONEST,
    USUAL,
    Began,
    Decision,
    Ended,
    Paused,
    VoiceActivity,
    patience,
)

SLACK = CHUNK_SECONDS + 1e-6


class Stream:
    """Chunks of a microphone, one after the other, with what was decided and when."""

    def __init__(self) -> None:
        self.activity = VoiceActivity()
        self.now = 100.0
        self.decided: list[tuple[float, Decision]] = []

    def hear(self, chance: float, seconds: float, *, over: bool = False) -> list[Decision]:
        """Gives what was decided meanwhile."""
        first = len(self.decided)
        for _ in range(max(1, round(seconds / CHUNK_SECONDS))):
            self.now += CHUNK_SECONDS
            self.decided += [(self.now, each) for each in self.activity.hear(self.now, chance, over=over)]
        return [each for _, each in self.decided[first:]]

    def voice(self, seconds: float, *, over: bool = False) -> list[Decision]:
        return self.hear(0.9, seconds, over=over)

    def silence(self, seconds: float, *, over: bool = False) -> list[Decision]:
        return self.hear(0.05, seconds, over=over)

    def when(self, kind: type[Decision]) -> float:
        return next(at for at, each in self.decided if isinstance(each, kind))


def test_speech_begins_pauses_and_ends() -> None:
    stream = Stream()
    assert stream.silence(1.0) == []
    begun = stream.now
    stream.voice(1.0)
    spoken = stream.now
    stream.silence(1.0)
    assert [type(each) for _, each in stream.decided] == [Began, Paused, Ended]
    began, paused, ended = (each for _, each in stream.decided)
    assert began == Began(pytest.approx(begun))
    assert stream.when(Began) - begun <= ONSET_SECONDS + SLACK
    assert (paused, ended) == (Paused(spoken), Ended(spoken))
    assert GAP_SECONDS <= stream.when(Paused) - spoken <= GAP_SECONDS + SLACK
    assert USUAL - 1e-6 <= stream.when(Ended) - spoken <= USUAL + SLACK
    assert not stream.activity.speaking


def test_a_click_is_no_speech() -> None:
    stream = Stream()
    for _ in range(10):
        stream.voice(CHUNK_SECONDS)
        stream.silence(0.3)
    assert stream.decided == []


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.28])
def test_a_cough_over_the_tutor_is_no_speech(seconds: float) -> None:
    stream = Stream()
    stream.voice(seconds, over=True)
    stream.silence(1.0, over=True)
    assert stream.decided == []


def test_speech_over_the_tutor_counts_after_the_guard_and_says_since_when() -> None:
    stream = Stream()
    begun = stream.now
    stream.voice(0.2, over=True)
    stream.silence(0.1, over=True)  # between two syllables
    stream.voice(0.3, over=True)
    (began,) = (each for _, each in stream.decided)
    assert began == Began(pytest.approx(begun))
    assert GUARD_SECONDS + 0.1 - 1e-6 <= stream.when(Began) - begun <= GUARD_SECONDS + 0.1 + 2 * SLACK


def test_coughs_far_apart_do_not_add_up() -> None:
    stream = Stream()
    for _ in range(20):
        stream.voice(0.15, over=True)
        stream.silence(0.2, over=True)
    assert stream.decided == []


def test_a_reply_that_began_under_the_tutors_last_word_counts_when_it_is_quiet() -> None:
    stream = Stream()
    stream.voice(0.2, over=True)
    assert [type(each) for each in stream.voice(CHUNK_SECONDS)] == [Began]


def test_a_faint_end_of_a_word_is_still_voice() -> None:
    stream = Stream()
    stream.voice(0.5)
    assert stream.hear(0.4, 2.0) == []
    assert [type(each) for each in stream.silence(0.3)] == [Paused]
    assert stream.hear(0.4, 1.0) == [Ended(pytest.approx(102.5, abs=0.05))], "but no beginning of one"


@pytest.mark.parametrize(
    ("text", "silence"),
    [
        ("Why is the sky blue?", SOONEST),
        ("天空为什么是蓝色的？", SOONEST),
        ('He said "no."', SOONEST),
        ("", USUAL),
        ("Why is the sky", LATEST),
        ("I would like to.", LATEST),
        ("Well, and", LATEST),
        ("I think...", LATEST),
        ("Um.", LATEST),
    ],
)
def test_the_words_say_how_long_silence_is_waited_for(text: str, silence: float) -> None:
    assert patience(text) == silence
    stream = Stream()
    stream.voice(1.0)
    spoken = stream.now
    stream.silence(0.2)
    stream.activity.understood(text, spoken)
    stream.silence(2.0)
    assert silence - 1e-6 <= stream.when(Ended) - spoken <= silence + SLACK


def test_words_of_what_was_said_before_do_not_end_what_follows() -> None:
    stream = Stream()
    stream.voice(1.0)
    first = stream.now
    stream.silence(0.2)
    stream.voice(0.5)
    spoken = stream.now
    stream.activity.understood("That is all.", first)
    stream.silence(2.0)
    assert stream.when(Ended) - spoken >= USUAL - 1e-6


def test_words_that_come_after_their_silence_end_the_turn_at_once() -> None:
    stream = Stream()
    stream.voice(1.0)
    spoken = stream.now
    stream.silence(0.6)
    stream.activity.understood("That is all.", spoken)
    assert [type(each) for each in stream.silence(CHUNK_SECONDS)] == [Ended]


def test_a_turn_without_end_is_ended() -> None:
    stream = Stream()
    stream.voice(2 * MOST_SECONDS + 10)
    assert [type(each) for _, each in stream.decided] == [Began, Ended, Began, Ended, Began]


CHANCES = st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), CHANCES, st.integers(1, 40), st.booleans()),
        st.tuples(st.just("words"), st.sampled_from(["", "Yes.", "and"]), st.floats(-2, 2), st.booleans()),
        st.tuples(st.just("away"), st.just(""), st.floats(0, 5), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=500, deadline=None)
@given(STEPS)
def test_whatever_comes_turns_begin_and_end_in_order_and_never_stay_open(
    steps: list[tuple[str, object, float, bool]],
) -> None:
    stream = Stream()
    for kind, what, amount, over in steps:
        if kind == "hear":
            assert isinstance(what, float)
            stream.hear(what, amount * CHUNK_SECONDS, over=over)
        elif kind == "words":
            stream.activity.understood(str(what), stream.now + amount)
        else:
            stream.now += amount
    stream.silence(voice_activity.LATEST + 0.1)
    kinds = [each for _, each in stream.decided if not isinstance(each, Paused)]
    assert all(type(first) is not type(second) for first, second in pairwise(kinds))
    assert not kinds or (isinstance(kinds[0], Began) and isinstance(kinds[-1], Ended))
    assert not stream.activity.speaking
    for at, each in stream.decided:
        match each:
            case Began(since):
                assert since < at
            case Paused(when) | Ended(when):
                assert when <= at
