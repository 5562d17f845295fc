"""The tutor's own sound, fed back as a loudspeaker and a room would, is not the student; somebody else over it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from pipeline.ear import I16, Ear, to_ear
from pipeline.echo import LAGS, EchoGuard, SentSound
from pipeline.media import Pcm
from pipeline.voice_activity import Began, Ended
from tests.listening.fakes import frames

Speak = Callable[[str], Pcm]
F64 = NDArray[np.float64]

TEXT = (
    "Plants make their own food out of light, water and air. They take in water through their roots, and carbon "
    "dioxide through small openings in their leaves. Yes. No. Sunlight gives them the energy to put both together."
)
BEFORE, AFTER = 1.5, 1.5  # seconds of silence around what the tutor says
RATE = 16_000


@pytest.fixture(scope="module")
def tutor(speak: Speak) -> Pcm:
    """At 48 kHz, with silence around it."""
    quiet = np.zeros(round(BEFORE * 48_000), np.int16)
    return np.concatenate((quiet, speak(TEXT), quiet))


@dataclass(frozen=True)
class Room:
    """delay in seconds; loud in dB, of the echo; noise in dB of full scale; reverberation: seconds to fall by 60 dB."""

    delay: float
    loud: float
    noise: float
    reverberation: float = 0.0

    def hears(self, sent: Pcm) -> F64:
        """What comes in, ±1 at 16 kHz."""
        dice = np.random.default_rng(7)
        sound = to_ear([sent]) / 32768
        if self.reverberation:
            count = round(self.reverberation * RATE)
            tail = dice.normal(0, 1, count) * np.exp(-6.9 * np.arange(count) / count)
            tail *= 0.5 / np.sqrt((tail**2).sum())
            tail[0] += 1
            sound = fftconvolve(sound, tail)[: len(sound)]
        late = np.concatenate((np.zeros(round(self.delay * RATE)), sound))[: len(sound)]
        return np.asarray(late * 10 ** (self.loud / 20) + dice.normal(0, 10 ** (self.noise / 20), len(late)))


ROOMS = [
    Room(0.1, 0, -60, 0.3),
    Room(0.2, -10, -70),
    Room(0.25, -20, -60, 0.4),
    Room(0.25, -20, -50, 0.4),
    Room(0.4, -30, -60),
    Room(0.6, -10, -60, 0.6),
]


@dataclass
class Outcome:
    began: list[tuple[float, float]]
    """When it was decided, and since when, in seconds of the sound."""
    ended: int


def listened(microphone: F64, sent: Pcm, *, jitter: float = 0.0) -> Outcome:
    """An ear that hears this while that is sent, piece by piece as it happens."""
    own = SentSound()
    ear = Ear(EchoGuard(own))
    dice = np.random.default_rng(3)
    outcome = Outcome([], 0)
    zero = 1000.0
    loud = np.flatnonzero(np.abs(sent) > 100) / 48_000
    first, last = (loud[0], loud[-1]) if len(loud) else (1.0, 0.0)
    sound: I16 = np.asarray(np.clip(microphone * 32768, -32768, 32767), np.int16)
    for number, frame in enumerate(frames(sound)):
        begin = number * 0.02
        piece = sent[number * 960 : (number + 1) * 960]
        if np.any(piece):
            own.put(zero + begin, piece)
        now = zero + begin + 0.02 + dice.uniform(0, jitter)
        for heard in ear.feed([frame], now, over=bool(first <= begin <= last)):
            if isinstance(heard.decision, Began):
                outcome.began.append((now - zero, heard.decision.since - zero))
            outcome.ended += isinstance(heard.decision, Ended)
    return outcome


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_the_tutors_own_sound_is_not_the_student(tutor: Pcm, room: Room) -> None:
    assert listened(room.hears(tutor), tutor, jitter=0.03).began == []


def test_without_the_guard_it_would_be(tutor: Pcm) -> None:
    """Nothing sent is known: the same sound is the student's."""
    assert listened(ROOMS[2].hears(tutor), np.zeros_like(tutor)).began


@pytest.mark.parametrize("word", ["Yes.", "Good morning!", "No, it is not."])
def test_a_short_word_of_the_tutors_is_not_the_students_reply(speak: Speak, word: str) -> None:
    quiet = np.zeros(96_000, np.int16)
    sent = np.concatenate((quiet, speak(word), quiet))
    for room in ROOMS:
        assert listened(room.hears(sent), sent, jitter=0.03).began == [], room


@pytest.mark.shared
@pytest.mark.parametrize("loud", [-100.0, -24.0, -18.0, -10.0])
def test_somebody_else_over_the_tutor_is_the_student(tutor: Pcm, other_speakers: list[I16], loud: float) -> None:
    for number, speaker in enumerate(other_speakers):
        student = np.zeros(len(tutor) // 3)
        voice = speaker / 32768
        voice = voice / np.sqrt((voice**2).mean()) * 0.08
        at = round(4.0 * RATE)
        student[at : at + len(voice)] = voice[: len(student) - at]
        outcome = listened(Room(0.25, loud, -60, 0.3).hears(tutor) + student, tutor)
        assert outcome.began, f"speaker {number} was not heard over an echo of {loud} dB"
        decided, since = outcome.began[0]
        assert decided >= 4.3, "not before the guard"
        assert decided <= 4.3 + 0.3, f"speaker {number}: {decided - 4:.2f} s after the speech began"
        assert 3.9 <= since <= 4.3


@pytest.mark.shared
def test_the_student_is_heard_at_once_when_the_tutor_is_silent(other_speakers: list[I16]) -> None:
    sound = np.concatenate((np.zeros(RATE), other_speakers[0] / 32768))
    (decided, _), *_ = listened(sound, np.zeros(len(sound) * 3, np.int16)).began
    assert decided < 1.6


def test_the_tutor_spoke_until_its_echo_has_died() -> None:
    own = SentSound()
    guard = EchoGuard(own)
    assert not guard.spoke(10.0)
    own.put(10.0, np.full(960, 8_000, np.int16))
    assert guard.spoke(10.1)
    assert not guard.spoke(10.1 + LAGS * 0.016)


def test_what_was_sent_is_bounded() -> None:
    own = SentSound()
    for number in range(1000):
        own.put(number * 0.02, np.zeros(960, np.int16))
    assert len(own.take()) == 100
    assert own.take() == []
