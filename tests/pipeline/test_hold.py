"""A held playout is silent and loses nothing: what was cut off comes when the hold is lifted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events import SpeechEnded, SpeechStarted
from tests.pipeline.test_playout import Stage

FRAMES = 12


def values(stage: Stage) -> list[int]:
    """The sounds that left, by their first sample; 0 is silence."""
    return [0 if pcm is None else int(pcm[0]) for pcm in stage.sounds]


def numbered(stage: Stage, name: str, base: int) -> list[int]:
    """Queue an utterance whose frames are told apart; gives them."""
    out = [base + k for k in range(FRAMES)]
    stage.playout.add(name, name)
    stage.playout.put_sound(name, np.repeat(np.array(out, np.int16), 1920), (), stage.now)
    stage.playout.put_mouths(name, [f"{name}{k}" for k in range(FRAMES)])
    stage.events += stage.playout.finish(name)
    return out


def test_speech_goes_on_with_the_very_frame_it_stopped_at() -> None:
    stage = Stage()
    frames = numbered(stage, "a", 100)
    stage.tick(5)
    stage.playout.held = True
    stage.tick(4)
    assert values(stage)[5:] == [0] * 4
    assert all(beat.speech is None for beat in stage.beats[5:]), "and the mouth closes"
    assert stage.playout.status == "speaking"
    stage.playout.held = False
    stage.tick(FRAMES)
    assert [value for value in values(stage) if value] == frames
    assert stage.of(SpeechEnded)[0].reason == "finished"  # type: ignore[attr-defined]


def test_a_hold_between_a_picture_and_its_sound() -> None:
    stage = Stage()
    frames = numbered(stage, "a", 100)
    stage.tick(3)
    stage.playout.next(stage.now, lambda order: True)
    stage.playout.held = True
    pcm, _ = stage.playout.sent()
    assert pcm is None
    stage.playout.held = False
    stage.tick(FRAMES + 2)
    assert [value for value in values(stage) if value] == frames, "the frame whose picture was made is not lost"


def test_speech_that_has_not_begun_begins_afterwards() -> None:
    stage = Stage()
    stage.playout.held = True
    frames = numbered(stage, "a", 100)
    stage.tick(8)
    assert not stage.of(SpeechStarted)
    assert stage.playout.status == "thinking"
    stage.playout.held = False
    stage.tick(FRAMES + 4)
    assert [value for value in values(stage) if value] == frames


def test_an_interruption_ends_the_hold() -> None:
    stage = Stage()
    numbered(stage, "a", 100)
    stage.tick(5)
    stage.playout.held = True
    stage.tick(2)
    stage.playout.interrupt()
    frames = numbered(stage, "b", 300)
    stage.tick(FRAMES + 4)
    assert [value for value in values(stage)[7:] if value] == frames


@given(st.lists(st.integers(1, 9), max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_however_often_it_is_held_nothing_is_lost_or_said_twice(runs: list[int], between: bool) -> None:
    stage = Stage()
    frames = numbered(stage, "a", 100) + numbered(stage, "b", 300)
    for run in runs:
        if between:
            beat = stage.playout.next(stage.now, lambda order: True)
            stage.playout.held = not stage.playout.held
            pcm, events = stage.playout.sent()
            stage.beats.append(beat)
            stage.sounds.append(pcm)
            stage.events += events
        else:
            stage.playout.held = not stage.playout.held
        before = len(stage.sounds)
        stage.tick(run)
        assert not stage.playout.held or not any(values(stage)[before:])
    stage.playout.held = False
    stage.tick(3 * FRAMES)
    assert [value for value in values(stage) if value] == frames
    assert [event.utterance_id for event in stage.of(SpeechEnded)] == ["a", "b"]  # type: ignore[attr-defined]
    assert stage.playout.underruns == 0
