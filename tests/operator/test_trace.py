"""Traces: what becomes of the moments and events of utterances."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pipeline.events import Event, Interrupted, SpeechEnded, SpeechStarted, TextComplete, TextStream
from pipeline.moments import Moment
from pipeline.trace import MOST, Interruption, Tracer, Turn
from server.settings import ROOT


def run(*script: tuple[float, Moment | Event, str]) -> list[Turn | Interruption]:
    """(time, a moment or an event, utterance)."""
    tracer, out = Tracer(), []
    for at, what, utterance in script:
        if isinstance(what, str):
            tracer.mark(utterance, what, at)
        elif (found := tracer.event(what, at)) is not None:
            out.append(found)
    return out


def ended(utterance: str, reason: str = "finished", position: float = 2.0) -> SpeechEnded:
    return SpeechEnded(utterance, 0, reason, position, "…")


def test_a_typed_question_from_its_asking_to_its_end() -> None:
    (turn,) = run(
        (10.0, "said", "u"),
        (10.0, "typed", "u"),
        (10.4, TextStream("u", "Plants"), "u"),
        (10.5, "sentence", "u"),
        (10.6, TextStream("u", " need"), "u"),
        (10.65, "voice", "u"),
        (10.8, SpeechStarted("u", 0), "u"),
        (10.85, "mouth", "u"),
        (11.0, TextComplete("u", "Plants need water."), "u"),
        (12.8, ended("u"), "u"),
    )
    assert isinstance(turn, Turn)
    assert turn.kind == "typed"
    assert turn.outcome == "finished"
    assert turn.characters == len("Plants need water.")
    assert turn.stages == pytest.approx({"model": 0.4, "sentence": 0.5, "voice": 0.65, "sound": 0.8, "mouth": 0.85})
    assert turn.steps() == pytest.approx({"model": 0.4, "sentence": 0.1, "voice": 0.15, "sound": 0.15, "mouth": 0.05})
    assert turn.say_to_sound == pytest.approx(0.8)
    assert turn.seconds == pytest.approx(2.8)
    assert turn.spoken == 2.0


def test_a_spoken_question_begins_where_the_speech_ended() -> None:
    (turn,) = run(
        (5.9, "said", "u"),
        (5.0, "spoken", "u"),
        (5.9, "words", "u"),
        (6.4, SpeechStarted("u", 0), "u"),
        (7.0, ended("u"), "u"),
    )
    assert isinstance(turn, Turn)
    assert turn.kind == "spoken"
    assert turn.stages == pytest.approx({"words": 0.9, "sound": 1.4})
    assert turn.say_to_sound == pytest.approx(1.4)


def test_waiting_behind_another_utterance_is_not_slowness() -> None:
    first, second = run(
        (1.0, "said", "a"),
        (1.0, "said", "b"),
        (1.3, SpeechStarted("a", 0), "a"),
        (9.0, ended("a"), "a"),
        (9.1, SpeechStarted("b", 0), "b"),
        (11.0, ended("b"), "b"),
    )
    assert isinstance(first, Turn)
    assert isinstance(second, Turn)
    assert first.waited == 0
    assert second.waited == pytest.approx(8.0)
    assert second.say_to_sound == pytest.approx(0.1)


def test_one_that_was_never_heard() -> None:
    (turn,) = run((1.0, "said", "a"), (1.5, ended("a", "interrupted", 0.0), "a"))
    assert isinstance(turn, Turn)
    assert turn.say_to_sound is None
    assert turn.outcome == "interrupted"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # The button: the last 20 ms that had left end 12 ms after it.
        ([(10.012, "silent", ""), (10.0, Interrupted(1, ["a"]), "")], Interruption("request", 0.012)),
        # The student's voice began at 9.5; the tutor fell silent at 9.9, its words came at 10.4.
        (
            [(9.5, "interrupt", ""), (9.9, "silent", ""), (10.4, Interrupted(1, ["a"]), "")],
            Interruption("voice", 0.4),
        ),
        # Nothing was heard any more, or ever.
        ([(8.0, "silent", ""), (10.0, Interrupted(1, []), "")], None),
        ([(10.0, Interrupted(1, ["a"]), "")], None),
    ],
)
def test_interruptions_until_the_last_old_sound(
    script: list[tuple[float, Moment | Event, str]], expected: Interruption | None
) -> None:
    found = run(*script)
    if expected is None:
        assert found == []
        return
    (interruption,) = found
    assert isinstance(interruption, Interruption)
    assert (interruption.by, interruption.seconds) == (expected.by, pytest.approx(expected.seconds))


def test_the_next_interruption_knows_nothing_of_the_last() -> None:
    first, second = run(
        (1.0, "interrupt", ""),
        (1.4, "silent", ""),
        (1.5, Interrupted(1, ["a"]), ""),
        (9.01, "silent", ""),
        (9.0, Interrupted(2, ["b"]), ""),
    )
    assert isinstance(first, Interruption)
    assert isinstance(second, Interruption)
    assert (first.by, second.by) == ("voice", "request")
    assert second.seconds == pytest.approx(0.01)


def test_what_never_ends_is_forgotten() -> None:
    tracer = Tracer()
    for number in range(MOST + 10):
        tracer.mark(str(number), "said", float(number))
    assert tracer.event(ended("0"), 100.0) is None
    assert tracer.event(ended(str(MOST + 9)), 100.0) is not None


def test_an_utterance_that_nobody_marked_has_no_trace() -> None:
    assert run((1.0, SpeechStarted("x", 0), "x"), (2.0, ended("x"), "x")) == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_documented_search_finds_turns_in_either_form(form: str) -> None:
    pattern = re.search(r"grep -E '([^']+)'", (ROOT / "docs" / "operations.md").read_text())
    assert pattern is not None
    program = (
        "import structlog; from server import logs; from server.setting_groups import ServerSettings;"
        f"logs.configure(ServerSettings(log_format='{form}')); log = structlog.get_logger('x');"
        "log.info('turn', session='s1'); log.info('turned', session='s2'); log.info('request', route='turn')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [line for line in done.stderr.splitlines() if re.search(pattern[1], line)]
    assert len(done.stderr.splitlines()) == 3
    assert len(found) == 1
    assert "s1" in found[0]
