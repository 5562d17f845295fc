"""What each picture of a session shows and sounds: the queue of utterances laid on the timeline of the moving base.

Pure: `now` comes in, decisions go out. The timeline's positions are the pictures that were sent: position p shows base
frame pingpong(p), and of the utterance that began at position s its frame k = p - s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from avatars.avatar import pingpong
from pipeline.events import Caption, Event, Interrupted, SpeechEnded, SpeechStarted
from pipeline.lipsync.engine import Mouth
from pipeline.media import FRAME_SECONDS, SAMPLE_RATE, Pcm, WordMark
from pipeline.utterance import Utterance

QUEUE = 32
"""Utterances that may wait, the one being spoken included."""

AHEAD = 10
"""Positions (400 ms) ahead of the sound for which mouths are ordered."""

START_MOUTHS = 3
"""Speech starts when this many of its mouths are ready …"""

START_LIMIT = 0.12
"""… or this many seconds after its first sound came."""

FADE_IN, FADE_OUT = 1 / 4, 1 / 6
"""How much of the engine's mouth comes in and goes out with each frame."""


class QueueFull(Exception):
    """QUEUE utterances wait already."""


@dataclass(frozen=True, slots=True)
class Order:
    """A mouth to be rendered onto base frame `frame`, shown at `position`. Equal orders give the same patch."""

    position: int
    frame: int
    source: tuple[str, int]  # utterance and its frame; ("", 0) for the base's own idle mouth
    presence: float
    mouth: Mouth = field(compare=False)


@dataclass(frozen=True, slots=True)
class Beat:
    """One picture's worth of the session. `speech`: utterance and its frame, None in silence.

    order: the mouth it shows, None: the base frame as it is. late: a mouth belongs here but is not known yet.
    """

    position: int
    frame: int
    generation: int
    speech: tuple[str, int] | None
    order: Order | None
    late: bool


@dataclass(frozen=True, slots=True)
class _Fade:
    """Where the engine's mouth stands between frames: how present it is, and which one it was."""

    presence: float = 0.0
    source: tuple[str, int] = ("", 0)
    mouth: Mouth = None


class Playout:
    """Beats go out by pairs of `next` (what the coming picture shows) and `sent` (it is on its way now).

    Between the two, an interruption may come: the picture still shows what `next` said, the sound does not.
    count: frames of the base. idle: the mouth of a base frame when nobody speaks (Face.idle).
    """

    def __init__(self, count: int, idle: Callable[[int], Mouth | None]) -> None:
        self._count = count
        self._idle = idle
        self._queue: deque[Utterance] = deque()
        self._fade = _Fade()
        self._pending: Beat | None = None
        self._position = 0
        self.generation = 0
        self.held = False  # silence, with everything where it is: speech begins or goes on when this is lifted
        self.begun = 0  # utterances
        self.starts_late = 0  # utterances that began without their first mouths
        self.underruns = 0  # gaps within utterances
        self.render_seconds = 0.02  # how long a mouth takes, from its order to its patch; kept by the driver

    # -- what comes in ------------------------------------------------------------------------------------------

    def add(self, utterance_id: str, text: str) -> None:
        """Queue an utterance; its sound comes later. Raises QueueFull."""
        if len(self._queue) >= QUEUE:
            raise QueueFull(f"{QUEUE} utterances wait already.")
        self._queue.append(Utterance(utterance_id, text, self.generation))

    def put_sound(self, utterance_id: str, pcm: Pcm, words: Iterable[WordMark], now: float) -> None:
        """The next sound of an utterance. Ids that are no longer in the queue are passed over, here and below."""
        utterance = self._find(utterance_id)
        if utterance is None:
            return
        utterance.add_words(words)
        utterance.sound.put(pcm)
        if utterance.first_sound is None and len(pcm):
            utterance.first_sound = now
        self._schedule()

    def put_mouths(self, utterance_id: str, mouths: Sequence[Mouth | None]) -> None:
        utterance = self._find(utterance_id)
        if utterance is not None:
            utterance.mouths.extend(mouths)

    def no_mouths(self, utterance_id: str) -> None:
        """The engine gave up on this utterance: it is spoken without."""
        utterance = self._find(utterance_id)
        if utterance is not None:
            utterance.mouthless = True

    def finish(self, utterance_id: str, *, failed: bool = False) -> list[Event]:
        """No more sound comes for it; what came is still spoken."""
        utterance = self._find(utterance_id)
        if utterance is not None:
            utterance.ended = True
            utterance.failed = failed
            self._schedule()
        return self._retire()

    def interrupt(self) -> list[Event]:
        """A new generation: nothing of an older one goes out from here on."""
        ended: list[Event] = [_ended(utterance, "interrupted") for utterance in self._queue]
        ids = [utterance.id for utterance in self._queue]
        self._queue.clear()
        self.held = False
        self.generation += 1
        return [*ended, Interrupted(self.generation, ids)]

    # -- what is asked ------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        """Utterances in the queue, in order."""
        return [utterance.id for utterance in self._queue]

    @property
    def position(self) -> int:
        """Pictures that were sent."""
        return self._position

    @property
    def status(self) -> str:
        if not self._queue:
            return "idle"
        return "speaking" if self._queue[0].begun else "thinking"

    def ahead(self, utterance_id: str) -> float:
        """Seconds of an utterance's sound that wait to be sent; 0 for an unknown one."""
        utterance = self._find(utterance_id)
        return len(utterance.sound) / SAMPLE_RATE if utterance is not None else 0.0

    def orders(self) -> list[Order]:
        """The mouths wanted for the coming AHEAD positions, soonest first, as far as they are known now."""
        first = self._free
        fade = self._fade
        out = []
        for position in range(first, first + AHEAD):
            speech = self._speech_at(position)
            if speech is not None and not speech[0].mouth_known(speech[1]):
                break
            fade, order = self._step(fade, position, speech)
            if order is not None:
                out.append(order)
        return out

    # -- what goes out ------------------------------------------------------------------------------------------

    def next(self, now: float, rendered: Callable[[Order], bool]) -> Beat:
        """What the coming picture shows. rendered: whether an ordered mouth needs no more waiting."""
        assert self._pending is None, "the last beat was not sent"
        position = self._position
        self._begin(position, now, rendered)
        speech = self._speech_at(position, starve=True)
        late = speech is not None and not speech[0].mouth_known(speech[1])
        order = None
        if not late:
            self._fade, order = self._step(self._fade, position, speech)
        self._pending = Beat(
            position,
            pingpong(position, self._count),
            self.generation,
            (speech[0].id, speech[1]) if speech is not None else None,
            order,
            late,
        )
        return self._pending

    def sent(self) -> tuple[Pcm | None, list[Event]]:
        """The beat of `next` goes out now: its sound (1920 samples; None: silence), and what happened with it."""
        beat = self._pending
        assert beat is not None, "no beat is waiting"
        self._pending = None
        self._position = beat.position + 1
        utterance = self._find(beat.speech[0]) if beat.speech is not None else None
        if utterance is not None and self.held:
            self._put_off(utterance)
            utterance = None
        if utterance is None:
            return None, self._retire()
        events: list[Event] = []
        if utterance.sent == 0:
            events.append(SpeechStarted(utterance.id, utterance.generation, utterance.text))
        pcm = utterance.sound.take_frame()
        utterance.sent += 1
        for index, word in utterance.due_words():
            events.append(Caption(utterance.id, index, word.text, word.start, word.end))
        return pcm, events + self._retire()

    # -- the timeline -------------------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        """The first position that is not decided yet."""
        return self._position + (self._pending is not None)

    def _find(self, utterance_id: str) -> Utterance | None:
        return next((utterance for utterance in self._queue if utterance.id == utterance_id), None)

    def _schedule(self) -> None:
        """Give every utterance its place, as far as the ends of those before it are known."""
        place = self._free
        for index, utterance in enumerate(self._queue):
            if utterance.begun:
                assert utterance.start is not None
            elif index > 0:
                utterance.start = place if utterance.sound.received else None
            elif utterance.start is None and utterance.sound.received:
                utterance.start = place + self._slip() - 1
            if utterance.start is None or not utterance.ended:
                for later in list(self._queue)[index + 1 :]:
                    later.start = None
                return
            place = utterance.start + utterance.frames

    def _slip(self) -> int:
        """Positions that the rendering of a mouth takes."""
        most = max(1, math.floor(START_LIMIT / FRAME_SECONDS))
        return min(most, max(1, math.ceil(self.render_seconds / FRAME_SECONDS)))

    def _begin(self, position: int, now: float, rendered: Callable[[Order], bool]) -> None:
        """Let the first utterance begin if its time has come, or put it off until its first mouths are ready."""
        if not self._queue or self.held:
            return
        head = self._queue[0]
        if head.begun or head.start is None:
            return
        if head.start < position:  # the one before it ended sooner than planned
            head.start = position
        if head.start > position:
            return
        assert head.first_sound is not None
        first = min(START_MOUTHS, head.frames) if head.ended else START_MOUTHS
        ready = head.frames >= first and all(head.mouth_known(k) for k in range(first))
        ready = ready and all(rendered(order) for order in self.orders() if order.position < position + first)
        waited = now - head.first_sound
        if ready or (waited >= START_LIMIT - 1e-6 and head.frames > 0):
            head.begun = True
            self.begun += 1
            self.starts_late += not ready
            return
        left = math.ceil(max(0.0, START_LIMIT - waited) / FRAME_SECONDS - 1e-6)
        # Every other start needs other mouths: the second time the engine gets all the time there is.
        head.start = position + max(1, left if head.delayed else min(self._slip(), left))
        head.delayed = True
        self._schedule()

    def _speech_at(self, position: int, starve: bool = False) -> tuple[Utterance, int] | None:
        """Which frame of which utterance a position carries. starve: it is decided now; what is missing is a gap."""
        if self.held:
            head = self._queue[0] if self._queue else None
            if starve and head is not None and head.start is not None and head.start <= position:
                self._put_off(head)
            return None
        for utterance in self._queue:
            if utterance.start is None or position < utterance.start:
                return None
            k = position - utterance.start
            if k < utterance.frames:
                if starve:
                    utterance.starving = False
                return utterance, k
            if not utterance.ended:
                if starve:
                    self.underruns += not utterance.starving
                    utterance.starving = True
                    self._put_off(utterance)
                return None
        return None

    def _put_off(self, utterance: Utterance) -> None:
        """What it has left comes one position later."""
        assert utterance.start is not None
        utterance.start += 1
        self._schedule()

    def _step(self, fade: _Fade, position: int, speech: tuple[Utterance, int] | None) -> tuple[_Fade, Order | None]:
        """The mouth at a position, given how it stood at the one before."""
        frame = pingpong(position, self._count)
        idle = self._idle(frame)
        mouth = speech[0].mouth(speech[1]) if speech is not None else None
        if speech is not None and mouth is not None:
            source = (speech[0].id, speech[1])
            fade = _Fade(min(1.0, fade.presence + FADE_IN), source, mouth)
        else:
            presence = fade.presence - FADE_OUT
            fade = _Fade(presence, fade.source, fade.mouth) if presence > 1e-6 else _Fade()
            if idle is not None:  # this base frame talks by itself: overrule it at once
                return fade, Order(position, frame, ("", 0), 1.0, idle)
        if fade.mouth is None:
            return fade, None
        presence = 1.0 if idle is not None else fade.presence
        return fade, Order(position, frame, fade.source, presence, fade.mouth)

    def _retire(self) -> list[Event]:
        """End the utterances at the head that were sent whole."""
        events: list[Event] = []
        while self._queue and self._queue[0].done:
            utterance = self._queue.popleft()
            events.append(_ended(utterance, "failed" if utterance.failed else "finished"))
        self._schedule()
        return events


def _ended(utterance: Utterance, reason: str) -> SpeechEnded:
    heard = utterance.heard(reason == "finished")
    return SpeechEnded(utterance.id, utterance.generation, reason, round(utterance.position, 3), heard)
