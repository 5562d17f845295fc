from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatars.avatar import pingpong
from pipeline.events import Caption, Event, Interrupted, SpeechEnded, SpeechStarted
from pipeline.media import SAMPLES_PER_FRAME, Pcm, WordMark
from pipeline.playout import AHEAD, QUEUE, START_LIMIT, START_MOUTHS, Beat, Order, Playout, QueueFull

COUNT = 7


def sound(frames: float, value: int = 1000) -> Pcm:
    return np.full(round(frames * SAMPLES_PER_FRAME), value, np.int16)


def words(*starts_ends: tuple[str, float, float]) -> tuple[WordMark, ...]:
    return tuple(WordMark(*word) for word in starts_ends)


@dataclass
class Stage:
    """Plays ticks. ready: whether rendered mouths are at hand."""

    playout: Playout = field(default_factory=lambda: Playout(COUNT, lambda frame: None))
    now: float = 0.0
    ready: bool = True
    events: list[Event] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    sounds: list[Pcm | None] = field(default_factory=list)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.beats.append(self.playout.next(self.now, lambda order: self.ready))
            self.now += 0.02
            pcm, events = self.playout.sent()
            self.sounds.append(pcm)
            self.events += events
            self.now += 0.02

    def speech(self, name: str, frames: float, *, mouths: bool = True, ended: bool = True, value: int = 1000) -> None:
        """Queue an utterance that is all there."""
        self.playout.add(name, f"text {name}")
        self.playout.put_sound(name, sound(frames, value), (), self.now)
        if mouths:
            self.playout.put_mouths(name, [f"{name}{k}" for k in range(round(frames + 0.49))])
        if ended:
            self.events += self.playout.finish(name)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def test_idle_moves_forward_then_backward_without_mouths_or_sound() -> None:
    stage = Stage()
    stage.tick(15)
    assert [beat.frame for beat in stage.beats] == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2]
    assert all(beat.order is None for beat in stage.beats)
    assert stage.sounds == [None] * 15
    assert stage.events == []


def test_each_frame_of_speech_goes_out_with_its_own_sound_and_mouth_on_its_own_base_frame() -> None:
    stage = Stage()
    stage.tick(3)
    stage.playout.add("a", "hello")
    pcm = np.concatenate([sound(1, 100 + k) for k in range(5)])
    stage.playout.put_sound("a", pcm, (), stage.now)
    stage.playout.put_mouths("a", [f"m{k}" for k in range(5)])
    stage.playout.finish("a")
    stage.tick(6)
    spoken = [(b, s) for b, s in zip(stage.beats, stage.sounds, strict=True) if b.speech is not None]
    assert [beat.speech for beat, _ in spoken] == [("a", k) for k in range(5)]
    for k, (beat, pcm_out) in enumerate(spoken):
        assert pcm_out is not None
        assert set(pcm_out) == {100 + k}
        assert beat.order is not None
        assert (beat.order.mouth, beat.order.frame) == (f"m{k}", pingpong(beat.position, COUNT))
    assert [type(event) for event in stage.events] == [SpeechStarted, SpeechEnded]


def test_orders_come_up_to_400_ms_ahead_for_the_very_base_frames_they_are_shown_on() -> None:
    stage = Stage()
    stage.speech("a", 40)
    orders = stage.playout.orders()
    assert len(orders) == AHEAD
    by_position = {order.position: order for order in orders}
    stage.tick(AHEAD)
    shown = [beat.order for beat in stage.beats]
    assert shown == [by_position[position] for position in range(AHEAD)]


def test_a_mouth_fades_in_over_four_frames_and_out_over_six_after_the_end() -> None:
    stage = Stage()
    stage.speech("a", 8)
    stage.tick(20)
    presence = [beat.order.presence if beat.order else 0 for beat in stage.beats]
    assert presence[:8] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert presence[8:13] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert presence[13:] == [0] * 7
    assert {beat.order.mouth for beat in stage.beats[8:13] if beat.order} == {"a7"}


def test_frames_that_talk_by_themselves_are_overruled_also_when_nobody_speaks() -> None:
    stage = Stage(Playout(COUNT, lambda frame: "closed" if frame >= 3 else None))
    stage.tick(5)
    assert [b.order.mouth if b.order else None for b in stage.beats] == [None, None, None, "closed", "closed"]
    stage.speech("a", 2)
    stage.tick(3)
    spoken = stage.beats[5:7]
    assert [(b.order.mouth, b.order.presence) for b in spoken if b.order] == [("a0", 1.0), ("a1", 1.0)]


def test_speech_waits_for_its_first_mouths_but_no_longer_than_the_limit() -> None:
    stage = Stage(ready=False)
    stage.tick(2)
    came = stage.now
    stage.speech("a", 10)
    stage.tick(8)
    first = next(i for i, beat in enumerate(stage.beats) if beat.speech)
    begun = first * 0.04
    assert START_LIMIT - 0.001 <= begun - came <= START_LIMIT + 0.041
    assert stage.playout.starts_late == 1
    assert [b.speech for b in stage.beats[first : first + 3]] == [("a", 0), ("a", 1), ("a", 2)], "then never again"


def test_speech_starts_at_once_when_its_mouths_are_ready() -> None:
    stage = Stage()
    stage.tick(2)
    stage.speech("a", 10)
    stage.tick()
    assert stage.beats[-1].speech == ("a", 0)
    assert stage.playout.starts_late == 0


def test_a_mouth_that_is_not_known_in_time_is_late_and_the_sound_goes_on() -> None:
    stage = Stage()
    stage.speech("a", 6, mouths=False)
    stage.playout.put_mouths("a", ["m0", "m1", "m2"])
    stage.tick(5)
    assert [beat.late for beat in stage.beats] == [False, False, False, True, True]
    assert all(pcm is not None for pcm in stage.sounds)
    stage.playout.put_mouths("a", ["m3", "m4", "m5"])
    stage.tick()
    assert stage.beats[-1].order is not None
    assert stage.beats[-1].order.mouth == "m5", "still aligned"


def test_without_an_engine_speech_starts_and_is_not_late() -> None:
    stage = Stage()
    stage.speech("a", 4, mouths=False)
    stage.playout.no_mouths("a")
    stage.tick(4)
    assert [beat.speech for beat in stage.beats] == [("a", k) for k in range(4)]
    assert not any(beat.late or beat.order for beat in stage.beats)


def test_a_gap_in_the_voice_is_silence_and_then_nothing_is_lost_and_mouths_still_fit() -> None:
    stage = Stage()
    stage.speech("a", 4, ended=False)
    stage.tick(7)
    assert stage.sounds[4:] == [None] * 3
    assert stage.playout.underruns == 1
    stage.playout.put_sound("a", sound(3, 2000), (), stage.now)
    stage.playout.put_mouths("a", ["a4", "a5", "a6"])
    stage.events += stage.playout.finish("a")
    orders = {order.position: order for order in stage.playout.orders()}
    stage.tick(3)
    assert [beat.speech for beat in stage.beats[7:]] == [("a", 4), ("a", 5), ("a", 6)]
    assert [beat.order for beat in stage.beats[7:]] == [orders[7], orders[8], orders[9]]
    assert [o.frame for o in orders.values()] == [pingpong(p, COUNT) for p in orders]
    assert stage.of(SpeechEnded) == [SpeechEnded("a", 0, "finished", 0.28, "text a")]


def test_utterances_follow_each_other_without_a_gap_and_the_next_ones_mouths_are_ordered_ahead() -> None:
    stage = Stage()
    stage.speech("a", 5)
    stage.speech("b", 5)
    assert [order.mouth for order in stage.playout.orders()] == [f"{n}{k}" for n in "ab" for k in range(5)]
    stage.tick(10)
    assert [beat.speech for beat in stage.beats] == [(n, k) for n in "ab" for k in range(5)]
    assert [type(e).__name__ for e in stage.events] == ["SpeechStarted", "SpeechEnded"] * 2


def test_the_last_part_of_a_frame_is_filled_with_silence() -> None:
    stage = Stage()
    stage.speech("a", 2.25)
    stage.tick(3)
    last = stage.sounds[-1]
    assert last is not None
    assert len(last) == SAMPLES_PER_FRAME
    assert (np.count_nonzero(last), last[-1]) == (480, 0)
    assert stage.of(SpeechEnded) == [SpeechEnded("a", 0, "finished", 0.09, "text a")]


def test_captions_come_with_their_sound_and_all_by_the_end() -> None:
    stage = Stage()
    stage.playout.add("a", "one two late")
    stage.playout.put_sound("a", sound(6), words(("one", 0.0, 0.1), ("two", 0.1, 0.2), ("late", 0.24, 0.24)), 0.0)
    stage.playout.put_mouths("a", ["m"] * 6)
    stage.playout.finish("a")
    when: dict[str, int] = {}
    for index in range(6):
        before = len(stage.events)
        stage.tick()
        when |= {event.word: index for event in stage.events[before:] if isinstance(event, Caption)}
    assert when == {"one": 0, "two": 2, "late": 5}
    assert [event.index for event in stage.of(Caption)] == [0, 1, 2]  # type: ignore[attr-defined]


def test_an_interruption_takes_hold_at_once_and_tells_what_was_heard_to_the_word() -> None:
    stage = Stage()
    for name in "ab":
        stage.speech(name, 20)
    stage.playout._queue[0].add_words(words(("one", 0, 0.16), ("two", 0.16, 0.32), ("three", 0.32, 0.6)))
    stage.tick(6)  # 0.24 s: the half of "two"
    events = stage.playout.interrupt()
    assert events == [
        SpeechEnded("a", 0, "interrupted", 0.24, "one two"),
        SpeechEnded("b", 0, "interrupted", 0.0, ""),
        Interrupted(1, ["a", "b"]),
    ]
    stage.tick(10)
    assert stage.sounds[6:] == [None] * 10
    presence = [beat.order.presence if beat.order else 0 for beat in stage.beats[6:]]
    assert presence == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0, 0, 0, 0]), "the mouth fades out"


def test_an_interruption_between_the_picture_and_its_sound_silences_the_sound() -> None:
    stage = Stage()
    stage.speech("a", 20)
    stage.tick(3)
    stage.playout.next(stage.now, lambda order: True)
    ended = stage.playout.interrupt()[0]
    assert stage.playout.sent() == (None, [])
    assert isinstance(ended, SpeechEnded)
    assert ended.position == pytest.approx(0.12)
    stage.speech("new", 3)
    stage.tick()
    assert stage.beats[-1].position == 4
    assert stage.beats[-1].speech == ("new", 0)
    assert stage.beats[-1].generation == 1


def test_what_a_cancelled_voice_still_sends_is_passed_over() -> None:
    stage = Stage()
    stage.speech("a", 5, ended=False)
    stage.playout.interrupt()
    stage.playout.put_sound("a", sound(5), (), stage.now)
    stage.playout.put_mouths("a", ["m"] * 5)
    assert stage.playout.finish("a") == []
    stage.tick(3)
    assert stage.sounds == [None] * 3
    assert stage.playout.status == "idle"


def test_a_voice_that_fails_is_heard_as_far_as_it_came() -> None:
    stage = Stage()
    stage.speech("a", 3, ended=False)
    stage.events += stage.playout.finish("a", failed=True)
    stage.tick(4)
    assert stage.of(SpeechEnded) == [SpeechEnded("a", 0, "failed", 0.12, "")]


def test_an_utterance_without_sound_ends_without_having_started() -> None:
    stage = Stage()
    stage.playout.add("a", "…")
    assert stage.playout.finish("a") == [SpeechEnded("a", 0, "finished", 0.0, "…")]
    assert stage.playout.status == "idle"


def test_the_queue_is_bounded() -> None:
    playout = Playout(COUNT, lambda frame: None)
    for index in range(QUEUE):
        playout.add(str(index), "")
    with pytest.raises(QueueFull):
        playout.add("one more", "")


def test_a_slow_engine_gets_its_time_in_one_go() -> None:
    """Base frames move: an order for another start is another order, so the start is put off by what it takes."""
    stage = Stage(ready=False)
    stage.playout.render_seconds = 0.1
    stage.speech("a", 10)
    first = {order.source: order for order in stage.playout.orders()}
    stage.tick(2)
    assert first.items() >= {order.source: order for order in stage.playout.orders()[:3]}.items()
    stage.ready = True
    stage.tick()
    assert stage.beats[-1].speech == ("a", 0)


def test_a_start_is_put_off_twice_at_most() -> None:
    stage = Stage(ready=False)
    stage.speech("a", 10)
    starts = set()
    for _ in range(4):
        starts |= {order.position for order in stage.playout.orders() if order.source == ("a", 0)}
        stage.tick()
    assert starts == {0, 1, 3}


def test_only_the_first_mouths_are_waited_for() -> None:
    stage = Stage()
    stage.speech("a", 20)
    beat = stage.playout.next(stage.now, lambda order: order.source[1] < START_MOUTHS)
    assert beat.speech == ("a", 0)


def test_a_start_that_was_planned_too_early_is_put_off_by_what_a_mouth_takes() -> None:
    stage = Stage(ready=False)
    stage.speech("a", 10)
    stage.playout.render_seconds = 0.07  # known by now
    stage.tick()
    first = [order.position for order in stage.playout.orders() if order.source == ("a", 0)]
    assert first == [2]
    stage.ready = True
    stage.tick(2)
    assert [beat.speech for beat in stage.beats] == [None, None, ("a", 0)]


ACTIONS = st.lists(
    st.one_of(
        st.just(("tick",)),
        st.just(("half",)),  # the picture is begun; what follows comes before its sound
        st.just(("say",)),
        st.just(("interrupt",)),
        st.tuples(st.just("sound"), st.integers(0, 3), st.integers(1, 9000)),
        st.tuples(st.just("mouths"), st.integers(0, 3)),
        st.tuples(st.just("end"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("ready"), st.booleans()),
    ),
    max_size=80,
)


class World:
    """Carries out actions and keeps account: every sample is a number, so that order and loss are seen."""

    def __init__(self, count: int, idle: bool) -> None:
        self.playout = Playout(count, lambda frame: "idle" if idle else None)
        self.count = count
        self.now = 0.0
        self.names = 0
        self.given: dict[str, int] = {}  # samples
        self.mouths: dict[str, int] = {}
        self.ended: set[str] = set()
        self.heard: dict[str, list[int]] = {}
        self.events: list[Event] = []
        self.positions: list[int] = []
        self.ready = True
        self.open = False
        self.generation = 0

    def act(self, action: tuple[object, ...]) -> None:
        kind, *details = action
        if kind == "tick":
            self.half()
            self.whole()
        elif kind == "half":
            self.half()
        elif kind == "say":
            name = f"u{self.names}"
            self.names += 1
            self.given[name] = self.mouths[name] = 0
            self.playout.add(name, "")
        elif kind == "interrupt":
            self.events += self.playout.interrupt()
            self.generation += 1
        elif kind == "ready":
            self.ready = bool(details[0])
        else:
            self.feed(str(kind), *details)

    def feed(self, kind: str, which: object, *details: object) -> None:
        ids = [name for name in self.playout.ids if name not in self.ended]
        if not ids:
            return
        name = ids[int(str(which)) % len(ids)]
        if kind == "sound":
            size = int(str(details[0]))
            numbers = (np.arange(self.given[name], self.given[name] + size) % 30_000 + 1).astype(np.int16)
            self.given[name] += size
            self.playout.put_sound(name, numbers, (), self.now)
        elif kind == "mouths":
            known = self.given[name] // SAMPLES_PER_FRAME
            self.playout.put_mouths(name, [(name, k) for k in range(self.mouths[name], known)])
            self.mouths[name] = known
        else:
            self.ended.add(name)
            self.events += self.playout.finish(name, failed=bool(details[0]))

    def half(self) -> None:
        if self.open:
            self.whole()
        self.check_orders(self.playout.orders())
        beat = self.playout.next(self.now, lambda order: self.ready)
        self.open, self.beat = True, beat
        self.positions.append(beat.position)
        assert beat.frame == pingpong(beat.position, self.count)
        if beat.order is not None:
            assert (beat.order.position, beat.order.frame) == (beat.position, beat.frame)
            if beat.speech is not None and beat.order.source == beat.speech:
                assert beat.order.mouth == beat.speech

    def whole(self) -> None:
        pcm, events = self.playout.sent()
        self.open = False
        self.now += 0.04
        self.events += events
        if pcm is None:
            return
        assert self.beat.speech is not None
        assert self.beat.generation == self.generation, "sound of an older generation"
        self.heard.setdefault(self.beat.speech[0], []).extend(pcm[pcm > 0].tolist())

    def check_orders(self, orders: list[Order]) -> None:
        positions = [order.position for order in orders]
        assert positions == sorted(set(positions))
        assert len(orders) <= AHEAD
        for order in orders:
            assert order.frame == pingpong(order.position, self.count)
            assert 0 < order.presence <= 1
            if isinstance(order.mouth, tuple):
                assert order.mouth == order.source

    def drain(self) -> None:
        """End what is open and play on until nothing is left."""
        for name in self.playout.ids:
            if name not in self.ended:
                self.ended.add(name)
                self.events += self.playout.finish(name)
        for _ in range(2000):
            if not self.playout.ids and not self.open:
                return
            self.act(("tick",))
            if self.open:
                self.whole()
        raise AssertionError("the queue does not come to its end")


@settings(max_examples=300, deadline=None)
@given(actions=ACTIONS, count=st.integers(1, 6), idle=st.booleans())
def test_whatever_happens_every_utterance_ends_once_and_no_sound_is_lost_or_late(
    actions: list[tuple[object, ...]], count: int, idle: bool
) -> None:
    world = World(count, idle)
    for action in actions:
        if action[0] == "say" and len(world.playout.ids) >= QUEUE:
            continue
        world.act(action)
    world.drain()

    ends = [event for event in world.events if isinstance(event, SpeechEnded)]
    assert Counter(event.utterance_id for event in ends) == Counter(world.given.keys())
    starts = Counter(event.utterance_id for event in world.events if isinstance(event, SpeechStarted))
    assert set(starts.values()) <= {1}
    assert set(starts) == set(world.heard)
    assert world.positions == list(range(len(world.positions))), "every picture once, in order"
    for end in ends:
        heard = world.heard.get(end.utterance_id, [])
        assert heard == [n % 30_000 + 1 for n in range(len(heard))], "in order, nothing left out"
        assert end.position == pytest.approx(len(heard) / 48_000, abs=0.001)
        if end.reason == "finished":
            assert len(heard) == world.given[end.utterance_id]
    order = [event.utterance_id for event in ends if event.reason != "interrupted"]
    assert order == sorted(order, key=lambda name: int(name[1:])), "in the order they were asked for"
