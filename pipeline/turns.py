"""Whose turn it is: the student speaks or types, the tutor thinks and speaks, and lets itself be interrupted.

Pure: what happened comes in with its time, what is to be done comes out. `Turns` knows no sound, model or socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GUARD_SECONDS = 0.3
"""Speech over the tutor that is shorter does not interrupt: a cough, a chair."""

WORDS_SECONDS = 2.0
"""After the student's speech over the tutor ended, words must come within this, or it was a false alarm."""

HOLD_SECONDS = 10.0
"""Noise without words holds the tutor no longer than this; only its end and a new beginning hold it again."""

RECOGNISE_SECONDS = 15.0
"""How long the words of a student's turn are waited for, when nothing else goes on."""


class State(StrEnum):
    """listening: the tutor is quiet, the student may speak. waiting: the student has spoken, the words are not known
    yet. thinking: an answer is being made, and not heard yet. speaking: it is heard. interrupted: the student speaks
    over it; it is held until it is known whether that was speech.
    """

    LISTENING = "listening"
    WAITING = "waiting"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"


class Tutor(StrEnum):
    """What the live session does, in its own words; while it is held this does not change."""

    IDLE = "idle"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True, slots=True)
class Hold:
    """Fall silent where you are; it may go on."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from there."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop what is said and what waits: a new generation. It ends a hold, too."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer this."""

    text: str


Action = Hold | Resume | Cancel | Answer


@dataclass(slots=True)
class _Speech:
    """The student's last stretch of speech. counts: its words are the student's turn, not a noise over the tutor.

    ended: when its silence was decided. spent: it holds the tutor no more.
    """

    since: float
    counts: bool
    ended: float | None = None
    spent: bool = False


class Turns:
    """One conversation's turns. `now`: monotonic seconds, never smaller than in the call before.

    After every call `due` says when `tick` has to be called at the latest; None: never, unless something happens.
    """

    def __init__(self) -> None:
        self._tutor = Tutor.IDLE
        self._speech: _Speech | None = None
        self._held: float | None = None  # since when

    # -- what is asked ------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        if self._held is not None:
            return State.INTERRUPTED
        if self._tutor is not Tutor.IDLE:
            return State(self._tutor.value)
        if self._speech is not None and self._speech.ended is not None:
            return State.WAITING
        return State.LISTENING

    @property
    def student_speaks(self) -> bool:
        return self._speech is not None and self._speech.ended is None

    @property
    def due(self) -> float | None:
        speech = self._speech
        if self._held is not None:
            assert speech is not None, "nobody has interrupted"
            return self._held + HOLD_SECONDS if speech.ended is None else speech.ended + WORDS_SECONDS
        if speech is None:
            return None
        if speech.ended is not None:
            return speech.ended + RECOGNISE_SECONDS
        if self._tutor is not Tutor.IDLE and not speech.spent:
            return speech.since + GUARD_SECONDS
        return None

    # -- the student --------------------------------------------------------------------------------------------

    def student_started(self, now: float, since: float | None = None) -> list[Action]:
        """Speech began (voice activity). Again without an end between: it goes on. since: it began then already."""
        actions = self.tick(now)
        began = now if since is None else since
        if self._speech is None:
            self._speech = _Speech(began, counts=self._tutor is Tutor.IDLE)
        elif self._speech.ended is not None:
            self._speech = _Speech(began, counts=True)  # the same turn goes on after a pause
        return actions + self.tick(now)

    def student_stopped(self, now: float) -> list[Action]:
        """Silence was decided: the student's turn is over."""
        actions = self.tick(now)
        speech = self._speech
        if speech is not None and speech.ended is None:
            if speech.counts:
                speech.ended = now
            else:
                self._speech = None  # too short to mean the tutor
        return actions

    def words(self, text: str, now: float, *, final: bool) -> list[Action]:
        """The recogniser's words. final: of the whole turn, after its end; without any words it was a false alarm.

        Words that come later than WORDS_SECONDS still count: better late than lost.
        """
        actions = self.tick(now)
        text = text.strip()
        if not text:
            return actions + self.false_alarm(now) if final else actions
        speech = self._speech
        if speech is None and self._tutor is not Tutor.IDLE:
            return actions  # of a sound that did not count
        if speech is not None and not speech.counts:
            return actions  # so far
        if not final:
            return actions + self._stop()
        if speech is not None and speech.ended is not None:
            self._speech = None
        return [*actions, *self._stop(), *self._answer(text)]

    def false_alarm(self, now: float) -> list[Action]:
        """The recogniser is sure that there were no words in what has ended last; said of what goes on, it is early."""
        actions = self.tick(now)
        if self._speech is None or self._speech.ended is None:
            return actions
        self._speech = None
        return actions + self._resume()

    def asked(self, text: str, now: float) -> list[Action]:
        """The student typed. It takes the place of what the tutor says; what the microphone hears holds no answer."""
        actions = self.tick(now)
        actions += self._stop()
        if self._speech is not None:
            self._speech.spent = True
        return actions + self._answer(text)

    def interrupted(self, now: float) -> list[Action]:
        """The button, or the API."""
        return [*self.tick(now), *self._stop(always=True)]

    # -- the tutor ----------------------------------------------------------------------------------------------

    def tutor(self, does: Tutor, now: float) -> list[Action]:
        """What the live session does now."""
        actions = self.tick(now)
        self._tutor = does
        if does is Tutor.IDLE:
            actions += self._resume()  # nothing is left to go on with
        return actions + self.tick(now)

    # -- time ---------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        due = self.due
        if due is None or now < due:
            return []
        speech = self._speech
        assert speech is not None
        if self._held is not None:
            speech.spent = True
            return self._resume()
        if speech.ended is not None:
            self._speech = None
            return []
        speech.counts = True
        self._held = now
        return [Hold()]

    # -- what follows -------------------------------------------------------------------------------------------

    def _stop(self, always: bool = False) -> list[Action]:
        if self._tutor is Tutor.IDLE and self._held is None and not always:
            return []
        self._tutor = Tutor.IDLE
        self._held = None
        return [Cancel()]

    def _answer(self, text: str) -> list[Action]:
        self._tutor = Tutor.THINKING
        return [Answer(text)]

    def _resume(self) -> list[Action]:
        if self._held is None:
            return []
        self._held = None
        return [Resume()]
