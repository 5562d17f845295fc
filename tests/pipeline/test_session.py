from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest

from pipeline import playout
from pipeline.events import Caption, Interrupted, Problem, ProcessingStatus, SpeechEnded, SpeechStarted
from pipeline.media import SpeechChunk
from pipeline.playout import QUEUE
from pipeline.session import LiveSession, QueueFull, SessionClosed, ViewerClosed
from tests.pipeline.conftest import SETTINGS, OpenShow
from tests.pipeline.fakes import WORD_SECONDS, FakeFace, FakeSpeaker, chunked, make_avatar, spoken

VOICED = 0.05


async def test_lips_and_sound_of_one_instant_leave_together(show: OpenShow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playout, "START_LIMIT", 5.0)  # however busy this machine is
    async with show() as stage, stage.receive() as seen:
        await seen.until(lambda: len(seen.pictures) >= 5)
        name = stage.live.say("one two three")
        ended = await stage.event(SpeechEnded, name)
        last = seen.pictures[-1][0]
        await seen.until(lambda: seen.pictures[-1][0] > last + 0.5 and seen.sounds[-1][0] > last + 0.5)
        stats = stage.live.stats()

    assert (ended.reason, ended.heard, ended.position) == ("finished", "one two three", 0.72)
    loud = {round(at, 3) for at, rms, _ in seen.sounds if rms > VOICED}
    speech = [(at, mouth) for at, mouth in seen.mouths() if mouth > 0.6]
    start = min(loud)
    assert speech[0][0] == pytest.approx(start + 0.04, abs=0.001), "the first mouth goes with its sound's end"
    heard = [at for at, _ in speech if {round(at - 0.04, 3), round(at - 0.02, 3)} & loud]
    assert len(heard) >= 14, "five frames a word are voiced, each with its mouth"
    sounds = [round(at, 3) for at, _, _ in seen.sounds]
    assert {round(at, 3) for at, _, _ in seen.pictures[5:-1]} <= set(sounds), "each picture at a sound packet's time"
    assert all(b - a >= 0.0199 for a, b in pairwise(sounds))
    assert stats.starts_late == stats.underruns == stats.mouths_failed == 0
    assert (stats.utterances, stats.utterances_begun) == (0, 1)


async def test_the_events_of_an_utterance_in_their_order(show: OpenShow) -> None:
    async with show() as stage:
        name = stage.live.say("one two", voice="fake:deep")
        assert stage.live.status == "thinking"
        await stage.event(SpeechStarted, name)
        assert stage.live.status == "speaking"
        await stage.event(SpeechEnded, name)
        kinds = [type(event) for event in stage.events if not isinstance(event, ProcessingStatus)]
        assert kinds == [SpeechStarted, Caption, Caption, SpeechEnded]
        assert [event.word for event in stage.of(Caption)] == ["one", "two"]
        assert [event.status for event in stage.of(ProcessingStatus)] == ["thinking", "speaking", "idle"]
        assert stage.speaker.asked == [("one two", "fake:deep")]
        assert stage.live.status == "idle"


class Complaining(FakeSpeaker):
    """Tells that another voice takes over before it says anything."""

    def speak(
        self,
        text: str,
        *,
        voice: str | None = None,
        on_problem: Callable[[Problem], None],
        utterance_id: str | None = None,
        on_sentence: Callable[[], None] | None = None,
    ) -> AsyncIterator[SpeechChunk]:
        on_problem(Problem("voice_fallback", "", utterance_id))
        return super().speak(text, voice=voice, on_problem=on_problem, utterance_id=utterance_id)


async def test_what_goes_wrong_while_another_utterance_is_spoken_is_told_in_its_turn(show: OpenShow) -> None:
    async with show(speaker=Complaining()) as stage:
        one, two, three = stage.live.say("one two three"), stage.live.say("four"), stage.live.say("")
        await stage.event(SpeechEnded, three)
        told = [(type(e), e.utterance_id) for e in stage.events if isinstance(e, Problem | SpeechStarted | SpeechEnded)]
        spoken = [(kind, name) for name in (one, two) for kind in (Problem, SpeechStarted, SpeechEnded)]
        assert told == [*spoken, (Problem, three), (SpeechEnded, three)]


async def test_an_interruption_is_silence_on_the_next_packets_and_the_voice_is_stopped(show: OpenShow) -> None:
    async with show() as stage, stage.receive() as seen:
        first = stage.live.say("word " * 20)
        second = stage.live.say("never heard")
        await stage.event(SpeechStarted, first)
        await seen.until(lambda: sum(rms > VOICED for _, rms, _ in seen.sounds) >= 10)
        asked = time.monotonic()
        assert stage.live.interrupt() == 1
        assert stage.live.status == "idle"
        await seen.until(lambda: seen.sounds[-1][2] > asked + 0.4)
        voiced_after = [rms for _, rms, when in seen.sounds if rms > VOICED and when > asked]
        assert len(voiced_after) <= 1, "only what Opus itself holds back, 6.5 ms"
        assert [e.reason for e in stage.of(SpeechEnded)] == ["interrupted", "interrupted"]
        heard = len(stage.of(SpeechEnded, first)[0].heard.split())
        assert heard in (len(stage.of(Caption)) - 1, len(stage.of(Caption))), (
            "all that was shown, but for a word cut off"
        )
        assert stage.of(SpeechEnded, second)[0].heard == ""
        assert stage.of(Interrupted) == [Interrupted(1, [first, second])]
        assert (stage.speaker.open, stage.live.generation) == (0, 1)
        assert stage.speaker.chunks < 12, "of the 12 of the first text"
        again = stage.live.say("again")
        assert (await stage.event(SpeechEnded, again)).generation == 1


async def test_sound_of_an_older_generation_is_dropped_from_the_viewers_queues_and_pictures_are_not(
    show: OpenShow,
) -> None:
    async with show() as stage:
        slow = stage.live.join()
        await asyncio.wait_for(slow.audio(), 15)
        await asyncio.wait_for(slow.video(), 15)
        name = stage.live.say("one two three four five six")
        await stage.event(SpeechStarted, name)
        while slow.queued[1]:  # it has not fallen behind yet, however long the start took
            await slow.audio()
        async with stage.receive(decode=False) as other:
            await other.until(lambda: len(other.sounds) >= 8)
        pictures, sounds = slow.queued
        assert sounds >= 8
        stage.live.interrupt()
        assert slow.queued == (pictures, 0)


async def test_a_second_viewer_begins_with_a_keyframe_at_once_and_costs_no_second_encode(show: OpenShow) -> None:
    async with show() as stage, stage.receive() as first:
        await first.until(lambda: len(first.pictures) >= 12)
        assert first.keys == [True] + [False] * (len(first.keys) - 1)
        before = len(first.packets)
        async with stage.receive() as second:
            await second.until(lambda: len(second.pictures) >= 10)
            assert stage.live.viewers == 2
            assert second.keys[0]
            await first.until(lambda: stage.live.stats().pictures == len(first.packets))
            at = first.packets.index(second.packets[0])  # the very same packet
            assert at - before <= 2
        assert stage.live.viewers == 1


async def test_nothing_is_encoded_or_rendered_while_nobody_looks_but_speech_goes_on(show: OpenShow) -> None:
    async with show() as stage:
        ended = await stage.event(SpeechEnded, stage.live.say("one two"))
        assert ended.heard == "one two"
        stats = stage.live.stats()
        assert (stats.pictures, stats.sounds, stage.face.submitted) == (0, 0, [])
        assert stats.position >= 12
        async with stage.receive() as seen:
            await seen.until(lambda: len(seen.pictures) >= 3 and len(seen.sounds) >= 3)
            assert seen.keys[0]


async def test_a_viewer_of_sound_alone_gets_sound_and_no_picture_is_made(show: OpenShow) -> None:
    async with show() as stage:
        viewer = stage.live.join()
        for _ in range(30):
            await asyncio.wait_for(viewer.audio(), 15)
        assert stage.live.stats().pictures == 0


async def test_a_viewer_that_stopped_reading_goes_on_with_a_keyframe_and_fresh_packets(show: OpenShow) -> None:
    async with show() as stage, stage.receive(decode=False) as other:
        stuck = stage.live.join()
        first = await asyncio.wait_for(stuck.video(), 15)
        count = len(other.pictures) + 30
        await other.until(lambda: len(other.pictures) >= count)
        keys = sum(other.keys)
        assert stuck.queued == (0, 0), "flushed, and nothing gathers"
        packet = await asyncio.wait_for(stuck.video(), 15)
        assert packet.is_keyframe
        assert packet.pts > first.pts + 90_000
        assert stage.live.stats().overflows == 1
        assert sum(other.keys) <= keys + 1


async def test_lost_pictures_bring_one_keyframe_in_half_a_second_however_many_ask(show: OpenShow) -> None:
    async with show() as stage, stage.receive(decode=False) as seen:
        await seen.until(lambda: len(seen.pictures) >= 5)
        for count in range(5, 45):
            seen.viewer.request_key()
            await seen.until(lambda count=count: len(seen.pictures) > count)
        keys = [at for (at, _, _), key in zip(seen.pictures, seen.keys, strict=True) if key]
        assert 3 <= len(keys) <= (keys[-1] - keys[0]) / 0.5 + 2
        assert min(b - a for a, b in pairwise(keys)) >= 0.47


async def test_after_a_stall_times_jump_to_now_and_no_word_is_lost(show: OpenShow) -> None:
    async with show() as stage, stage.receive() as seen:
        name = stage.live.say("one two three four")
        await seen.until(lambda: sum(rms > VOICED for _, rms, _ in seen.sounds) >= 5)
        time.sleep(1.0)  # noqa: ASYNC251 - the stall: the whole loop stands still
        resumed = time.monotonic()
        ended = await stage.event(SpeechEnded, name)
        await seen.until(lambda: len(seen.pictures) >= 30)
        stats = stage.live.stats()
    assert (ended.heard, ended.position) == ("one two three four", 0.96)
    assert stats.stalls >= 1
    offset = seen.pictures[3][2] - seen.pictures[3][0]
    after = [(at, when) for at, _, when in seen.pictures if when > resumed + 0.2]
    assert statistics.median(when - at - offset for at, when in after) < 0.05
    burst = [when for _, _, when in seen.pictures if resumed <= when < resumed + 0.1]
    assert len(burst) <= 5
    voiced = sum(rms > VOICED for _, rms, _ in seen.sounds)
    assert voiced >= 4 * 8


async def test_a_voice_that_fails_ends_its_utterance_and_the_session_lives(show: OpenShow) -> None:
    async with show(speaker=FakeSpeaker(fail_after=1)) as stage:
        name = stage.live.say("one two three")
        ended = await stage.event(SpeechEnded, name)
        assert (ended.reason, ended.position, ended.heard) == ("failed", 0.4, "one two")
        problem = stage.of(Problem)[0]
        assert (problem.code, problem.utterance_id) == ("voice_failed", name)
        stage.speaker.fail_after = None
        assert (await stage.event(SpeechEnded, stage.live.say("well"))).reason == "finished"


async def test_an_engine_that_fails_is_told_once_and_the_tutor_speaks_on(show: OpenShow) -> None:
    async with show(face={"fail": True}) as stage, stage.receive() as seen:
        await seen.until(lambda: len(seen.pictures) >= 2)
        ended = await stage.event(SpeechEnded, stage.live.say("one two"))
        assert ended.reason == "finished"
        assert [problem.code for problem in stage.of(Problem)] == ["engine_fallback"]
        assert stage.live.stats().mouths_failed >= 10
        assert max(mouth for _, mouth in seen.mouths()) < 0.3


async def test_a_slow_engine_starts_with_its_mouths_and_keeps_up(
    show: OpenShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playout, "START_LIMIT", 2.0)  # however busy this machine is
    async with show(face={"seconds": 0.03}) as stage, stage.receive() as seen:
        await seen.until(lambda: len(seen.pictures) >= 5)
        await stage.event(SpeechEnded, stage.live.say("one two three"))
        assert stage.live.stats().starts_late == 0
        assert stage.live.stats().mouths >= 9, "of 18"


async def test_idle_frames_that_talk_are_overruled_by_the_face(show: OpenShow) -> None:
    async with show(face={"idle_mouth": 0.5}) as stage, stage.receive() as seen:
        await seen.until(lambda: len(seen.pictures) >= 25)
        mouths = [mouth for _, mouth in seen.mouths()][15:]
        assert all(mouth == pytest.approx(0.5, abs=0.05) for mouth in mouths)


async def test_speech_is_made_at_most_two_seconds_ahead(show: OpenShow) -> None:
    speaker = FakeSpeaker(chunk_seconds=0.2)
    async with show(speaker=speaker) as stage:
        name = stage.live.say("word " * 40)
        await stage.event(SpeechStarted, name)
        async with stage.receive(decode=False) as seen:
            await seen.until(lambda: len(seen.pictures) >= 20)
        spoken_yet = len(stage.of(Caption)) * WORD_SECONDS
        assert 1.6 <= stage.live.stats().ahead_seconds <= 2.2
        assert speaker.chunks * 0.2 <= spoken_yet + 2.0 + 3 * 0.2


class Clip:
    """Recorded chunks that know whether they were closed."""

    def __init__(self, text: str, *, broken: bool = False) -> None:
        pcm, words = spoken(text)
        self.chunks = chunked(pcm, words, 0.4)
        self.broken = broken
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        return self

    async def __anext__(self) -> SpeechChunk:
        if self.chunks:
            return self.chunks.pop(0)
        if self.broken:
            raise OSError("the disk is gone")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_recording_whose_turn_never_came_is_closed_by_an_interruption(show: OpenShow) -> None:
    async with show() as stage:
        for _ in range(3):
            stage.live.say("word " * 20)
        never = Clip("never")
        stage.live.play(never)
        await stage.event(SpeechStarted)
        stage.live.interrupt()
        await stage.live.close()
        assert never.closed == 1


async def test_recordings_are_spoken_and_closed_whether_or_not_their_turn_came(show: OpenShow) -> None:
    async with show() as stage:
        played, broken, cut, never = Clip("one two"), Clip("three", broken=True), Clip("four " * 20), Clip("five")
        names = [stage.live.play(clip, text="a recording") for clip in (played, broken, cut, never)]
        await stage.event(SpeechStarted, names[2])
        assert stage.of(SpeechStarted, names[0])[0].text == "a recording"
        stage.live.interrupt()
        await stage.live.close()
        assert [clip.closed for clip in (played, broken, cut, never)] == [1, 1, 1, 1]
        assert [stage.of(SpeechEnded, name)[0].reason for name in names] == ["finished", "failed"] + ["interrupted"] * 2
        assert [problem.code for problem in stage.of(Problem)] == ["audio_unreadable"]


async def test_the_queue_of_utterances_is_bounded(show: OpenShow) -> None:
    async with show() as stage:
        for _ in range(QUEUE):
            stage.live.say("word")
        with pytest.raises(QueueFull):
            stage.live.say("one too many")
        stage.live.interrupt()
        stage.live.say("room again")


async def test_a_session_whose_pictures_cannot_be_made_says_that_it_runs_no_more(
    show: OpenShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk has failed")

    async with show() as stage:
        assert stage.live.running
        viewer = stage.live.join()
        await asyncio.wait_for(viewer.video(), 15)
        name = stage.live.say("word " * 100)
        monkeypatch.setattr("pipeline.compositor.Compositor.draw", broken)
        with pytest.raises(ViewerClosed):
            await asyncio.wait_for(_drain(viewer), 60)
        assert not stage.live.running
        with pytest.raises(SessionClosed):
            stage.live.say("more")
        with pytest.raises(SessionClosed):
            stage.live.join()
        await stage.live.close()
        assert stage.of(SpeechEnded, name)[0].reason == "interrupted"


async def test_closing_frees_everything_and_tells_everybody(show: OpenShow) -> None:
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with show() as stage:
        viewer = stage.live.join()
        await asyncio.wait_for(viewer.video(), 15)
        waiting = asyncio.create_task(_drain(viewer))
        name = stage.live.say("word " * 20)
        await stage.event(SpeechStarted, name)
        await asyncio.gather(stage.live.close(), stage.live.close())
        with pytest.raises(ViewerClosed):
            await asyncio.wait_for(waiting, 15)
        with pytest.raises(ViewerClosed):
            await viewer.audio()
        with pytest.raises(SessionClosed):
            stage.live.join()
        with pytest.raises(SessionClosed):
            stage.live.say("too late")
        assert stage.of(SpeechEnded, name)[0].reason == "interrupted"
        assert stage.speaker.open == 0
        assert stage.live.viewers == 0
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
    assert set(threading.enumerate()) <= threads
    assert asyncio.all_tasks() == tasks


async def _drain(viewer: object) -> None:
    while True:
        await viewer.video()  # type: ignore[attr-defined]


async def test_a_session_that_was_never_started_can_be_closed_and_takes_nothing() -> None:
    avatar = make_avatar()
    face = FakeFace(avatar)
    live = LiveSession("x", avatar, face, FakeSpeaker(), SETTINGS, lambda event: None)
    with pytest.raises(SessionClosed):
        live.say("hello")
    with pytest.raises(SessionClosed):
        live.join()
    await live.close()
    face.close()


async def test_a_listener_that_fails_does_not_stop_the_session(show: OpenShow) -> None:
    async with show() as stage:
        ended = asyncio.Event()

        def listener(event: object) -> None:
            if isinstance(event, SpeechEnded):
                ended.set()
            raise ValueError("a broken listener")

        stage.live._on_event = listener  # type: ignore[assignment]
        stage.live.say("one")
        await asyncio.wait_for(ended.wait(), 15)


async def test_a_weak_network_lowers_the_bitrate_without_a_keyframe(show: OpenShow) -> None:
    async with show() as stage, stage.receive(decode=False) as seen:
        await seen.until(lambda: len(seen.pictures) >= 2)
        stage.live._rate.bitrate = 200_000
        await seen.until(lambda: len(seen.pictures) >= 20)
        assert sum(seen.keys) == 1
        assert stage.live.stats().bitrate == 200_000
        seen.viewer.report_estimate(10_000_000)
