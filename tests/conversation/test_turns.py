"""Whose turn it is: every transition, and no sequence of events that gets stuck."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.turns import (
    GUARD_SECONDS,
    HOLD_SECONDS,
    RECOGNISE_SECONDS,
    WORDS_SECONDS,
    Action,
    Answer,
    Cancel,
    Hold,
    Resume,
    State,
    Turns,
    Tutor,
)


class Talk:
    """Turns at a clock that the test moves; what it decides is carried out as the conversation does it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.now = 100.0
        self.does = Tutor.IDLE
        self.held = False

    def do(self, actions: list[Action]) -> list[Action]:
        done = list(actions)
        for action in actions:
            self._act(action)
        more = self.turns.tutor(self.does, self.now)
        for action in more:
            self._act(action)
        return done + more

    def _act(self, action: Action) -> None:
        match action:
            case Hold():
                assert not self.held
                self.held = True
            case Resume():
                assert self.held, "nothing to go on with"
                self.held = False
            case Cancel():
                self.held, self.does = False, Tutor.IDLE
            case Answer(text):
                assert text
                assert self.does is Tutor.IDLE, "answered over an answer"
                self.does = Tutor.THINKING

    def tutor(self, does: Tutor) -> list[Action]:
        self.does = does
        return self.do([])

    def started(self, ago: float | None = None) -> list[Action]:
        return self.do(self.turns.student_started(self.now, None if ago is None else self.now - ago))

    def stopped(self) -> list[Action]:
        return self.do(self.turns.student_stopped(self.now))

    def words(self, text: str = "but why", final: bool = True) -> list[Action]:
        return self.do(self.turns.words(text, self.now, final=final))

    def alarm(self) -> list[Action]:
        return self.do(self.turns.false_alarm(self.now))

    def asked(self) -> list[Action]:
        return self.do(self.turns.asked("typed", self.now))

    def button(self) -> list[Action]:
        return self.do(self.turns.interrupted(self.now))

    def wait(self, seconds: float) -> list[Action]:
        """Time passes; ticks come when they are due."""
        end = self.now + seconds
        done: list[Action] = []
        for _ in range(20):
            due = self.turns.due
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            done += self.do(self.turns.tick(self.now))
        else:
            raise AssertionError("ticks without end")
        self.now = end
        return done

    @property
    def state(self) -> State:
        return self.turns.state


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def speaking(talk: Talk) -> Talk:
    talk.asked()
    talk.tutor(Tutor.SPEAKING)
    return talk


@pytest.fixture
def interrupted(speaking: Talk) -> Talk:
    speaking.started()
    assert speaking.wait(GUARD_SECONDS) == [Hold()]
    assert speaking.state is State.INTERRUPTED
    return speaking


def test_a_typed_question_and_its_answer(talk: Talk) -> None:
    assert talk.state is State.LISTENING
    assert talk.asked() == [Answer("typed")]
    assert talk.state is State.THINKING
    talk.tutor(Tutor.SPEAKING)
    assert talk.state is State.SPEAKING
    talk.tutor(Tutor.IDLE)
    assert talk.state is State.LISTENING
    assert talk.turns.due is None


def test_a_spoken_question(talk: Talk) -> None:
    assert talk.started() == []
    assert talk.state is State.LISTENING
    assert talk.turns.student_speaks
    talk.wait(3)
    assert talk.words("but", final=False) == []
    assert talk.stopped() == []
    assert talk.state is State.WAITING
    talk.wait(0.5)
    assert talk.words(" but why ") == [Answer("but why")]
    assert talk.state is State.THINKING


def test_a_pause_within_the_students_turn(talk: Talk) -> None:
    talk.started()
    talk.stopped()
    talk.started()
    assert talk.state is State.LISTENING
    talk.stopped()
    assert talk.words() == [Answer("but why")]


def test_a_sound_without_words_while_nothing_goes_on(talk: Talk) -> None:
    talk.started()
    talk.stopped()
    assert talk.alarm() == []
    assert talk.state is State.LISTENING


def test_words_that_never_come(talk: Talk) -> None:
    talk.started()
    talk.stopped()
    assert talk.wait(RECOGNISE_SECONDS - 0.01) == []
    assert talk.state is State.WAITING
    talk.wait(0.02)
    assert talk.state is State.LISTENING


def test_typing_while_words_are_waited_for(talk: Talk) -> None:
    talk.started()
    talk.stopped()
    assert talk.asked() == [Answer("typed")]
    assert talk.state is State.THINKING


def test_the_tutor_is_made_to_speak_while_words_are_waited_for(talk: Talk) -> None:
    talk.started()
    talk.stopped()
    talk.tutor(Tutor.SPEAKING)
    assert talk.state is State.SPEAKING
    assert talk.words() == [Cancel(), Answer("but why")], "the student was first"


def test_a_cough_does_not_interrupt(speaking: Talk) -> None:
    speaking.started()
    assert speaking.wait(GUARD_SECONDS - 0.01) == []
    assert speaking.stopped() == []
    assert speaking.wait(60) == []
    assert speaking.words("Thank you.") == [], "what a recogniser makes of a cough"
    assert speaking.state is State.SPEAKING


def test_speech_that_is_known_late_holds_at_once(speaking: Talk) -> None:
    assert speaking.started(GUARD_SECONDS) == [Hold()]
    assert speaking.state is State.INTERRUPTED


def test_speech_that_is_known_early_still_waits_for_the_rest_of_the_guard(speaking: Talk) -> None:
    assert speaking.started(0.1) == []
    assert speaking.wait(GUARD_SECONDS - 0.11) == []
    assert speaking.wait(0.02) == [Hold()]


def test_words_before_the_guard_has_passed_do_not_interrupt(speaking: Talk) -> None:
    speaking.started()
    assert speaking.words("b", final=False) == []
    assert speaking.wait(GUARD_SECONDS) == [Hold()]


@pytest.mark.parametrize("does", [Tutor.THINKING, Tutor.SPEAKING])
def test_speech_over_the_tutor_holds_it_after_the_guard(talk: Talk, does: Tutor) -> None:
    talk.asked()
    talk.tutor(does)
    talk.started()
    assert talk.state is State(does.value)
    assert talk.wait(GUARD_SECONDS) == [Hold()]
    assert talk.state is State.INTERRUPTED


def test_recognised_words_make_an_interruption(interrupted: Talk) -> None:
    interrupted.wait(1)
    interrupted.stopped()
    assert interrupted.words() == [Cancel(), Answer("but why")]
    assert interrupted.state is State.THINKING


def test_first_words_drop_the_answer_while_the_student_speaks_on(interrupted: Talk) -> None:
    assert interrupted.words("", final=False) == []
    assert interrupted.words("but", final=False) == [Cancel()]
    assert interrupted.state is State.LISTENING
    assert interrupted.words("but why", final=False) == []
    interrupted.stopped()
    assert interrupted.state is State.WAITING
    assert interrupted.words() == [Answer("but why")]


def test_first_words_after_the_students_speech(interrupted: Talk) -> None:
    interrupted.stopped()
    assert interrupted.words("but", final=False) == [Cancel()]
    assert interrupted.state is State.WAITING


def test_no_words_within_two_seconds_is_a_false_alarm(interrupted: Talk) -> None:
    interrupted.wait(0.4)
    interrupted.stopped()
    assert interrupted.wait(WORDS_SECONDS - 0.01) == []
    assert interrupted.wait(0.02) == [Resume()]
    assert interrupted.state is State.SPEAKING
    assert interrupted.words() == [Cancel(), Answer("but why")], "late, but words"


@pytest.mark.parametrize("say", [Talk.alarm, lambda talk: talk.words("  ")])
def test_a_recogniser_that_finds_no_words_ends_the_alarm_at_once(
    interrupted: Talk, say: Callable[[Talk], list[Action]]
) -> None:
    assert say(interrupted) == [], "the student makes sound still"
    interrupted.stopped()
    assert say(interrupted) == [Resume()]
    assert interrupted.state is State.SPEAKING
    assert interrupted.words() == []


def test_noise_without_end_holds_the_tutor_only_so_long(interrupted: Talk) -> None:
    assert interrupted.wait(HOLD_SECONDS - 0.01) == []
    assert interrupted.wait(0.02) == [Resume()]
    assert interrupted.wait(600) == []
    assert interrupted.state is State.SPEAKING
    interrupted.stopped()
    interrupted.started()
    assert interrupted.wait(GUARD_SECONDS) == [Hold()], "a new beginning counts again"


def test_speech_that_goes_on_after_a_pause_keeps_the_tutor_held(interrupted: Talk) -> None:
    interrupted.stopped()
    interrupted.wait(1.5)
    assert interrupted.started() == []
    assert interrupted.wait(3) == []
    assert interrupted.state is State.INTERRUPTED


def test_the_button(speaking: Talk) -> None:
    assert speaking.button() == [Cancel()]
    assert speaking.state is State.LISTENING
    assert speaking.button() == [Cancel()], "also when nothing is said, as far as is known here"


def test_the_button_while_held(interrupted: Talk) -> None:
    assert interrupted.button() == [Cancel()]
    assert interrupted.state is State.LISTENING
    interrupted.stopped()
    assert interrupted.words() == [Answer("but why")]


def test_typing_over_the_tutor(speaking: Talk) -> None:
    assert speaking.asked() == [Cancel(), Answer("typed")]
    assert speaking.state is State.THINKING


def test_typing_while_held(interrupted: Talk) -> None:
    assert interrupted.asked() == [Cancel(), Answer("typed")]
    assert interrupted.wait(60) == [], "the noise that goes on holds the answer not"
    assert interrupted.state is State.THINKING


def test_the_tutor_begins_while_the_student_speaks(talk: Talk) -> None:
    talk.started()
    talk.wait(5)
    assert talk.tutor(Tutor.THINKING) == [Hold()]
    assert talk.state is State.INTERRUPTED


def test_what_was_held_comes_to_nothing(interrupted: Talk) -> None:
    assert interrupted.tutor(Tutor.IDLE) == [Resume()]
    assert interrupted.state is State.LISTENING


EVENTS: list[Callable[[Talk], object]] = [
    Talk.started,
    lambda talk: talk.started(GUARD_SECONDS),
    Talk.stopped,
    Talk.words,
    lambda talk: talk.words("w", final=False),
    lambda talk: talk.words("", final=True),
    Talk.alarm,
    Talk.asked,
    Talk.button,
    lambda talk: talk.tutor(Tutor.THINKING),
    lambda talk: talk.tutor(Tutor.SPEAKING),
    lambda talk: talk.tutor(Tutor.IDLE),
    lambda talk: talk.wait(0.1),
    lambda talk: talk.wait(GUARD_SECONDS),
    lambda talk: talk.wait(1.0),
    lambda talk: talk.wait(WORDS_SECONDS),
    lambda talk: talk.wait(20.0),
]


@given(st.binary(max_size=30))
@settings(max_examples=10_000, deadline=None)
def test_no_sequence_of_events_gets_stuck(sequence: bytes) -> None:
    """10 000 random sequences of up to 30 events."""
    talk = Talk()
    for number in sequence:
        EVENTS[number % len(EVENTS)](talk)
        assert (talk.state is State.INTERRUPTED) == talk.held
        talk.wait(0)
        assert talk.turns.due is None or talk.turns.due > talk.now, "a tick that changes nothing"
        assert not talk.held or talk.turns.due is not None, "held, and nothing ends it"
    # Then the student is quiet, and the tutor says what it has to say.
    talk.stopped()
    talk.wait(RECOGNISE_SECONDS + HOLD_SECONDS)
    assert not talk.held, "the tutor is silent for ever"
    assert talk.state is State(talk.does.value) if talk.does is not Tutor.IDLE else State.LISTENING
    talk.tutor(Tutor.IDLE)
    talk.wait(RECOGNISE_SECONDS)
    assert talk.state is State.LISTENING
    assert talk.turns.due is None
    # And the next turn works.
    talk.started()
    talk.stopped()
    assert talk.words() == [Answer("but why")]
