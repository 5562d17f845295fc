from __future__ import annotations

import asyncio

import av
import pytest

from pipeline.fanout import AUDIO_QUEUE, JOIN_INTERVAL, KEY_INTERVAL, VIDEO_QUEUE, Fanout, KeyGate, ViewerClosed


def packet(key: bool = False) -> av.Packet:
    made = av.Packet(b"x")
    made.is_keyframe = key
    return made


def fanout() -> Fanout:
    return Fanout(lambda viewer, bitrate: None, lambda viewer: None)


async def test_a_viewer_gets_nothing_before_its_first_keyframe() -> None:
    fan = fanout()
    viewer = fan.join()
    fan.video(packet(key=True))
    waiting = asyncio.create_task(viewer.video())
    await asyncio.sleep(0)
    assert fan.keys.wanted(0.0), "asked for with the first call"
    fan.video(packet())
    key = packet(key=True)
    fan.video(key)
    assert await asyncio.wait_for(waiting, 1) is key
    following = packet()
    fan.video(following)
    assert await asyncio.wait_for(viewer.video(), 1) is following


async def test_queues_hold_half_a_second_and_an_overflow_empties_both() -> None:
    fan = fanout()
    viewer = fan.join()
    both = [asyncio.create_task(viewer.video()), asyncio.create_task(viewer.audio())]
    await asyncio.sleep(0)
    fan.video(packet(key=True))
    fan.audio(0, packet())
    await asyncio.wait_for(asyncio.gather(*both), 1)
    for _ in range(VIDEO_QUEUE):
        fan.video(packet())
    for _ in range(AUDIO_QUEUE):
        fan.audio(0, packet())
    assert (viewer.queued, fan.overflows) == ((VIDEO_QUEUE, AUDIO_QUEUE), 0)
    fan.video(packet())
    assert (viewer.queued, fan.overflows) == ((0, 0), 1)
    assert not fan.wants_video, "until it reads again"


async def test_an_overflow_of_sound_wakes_a_viewer_that_waits_for_a_picture() -> None:
    fan = fanout()
    viewer = fan.join()
    hearing = asyncio.create_task(viewer.audio())
    seeing = asyncio.create_task(viewer.video())
    await asyncio.sleep(0)
    for _ in range(AUDIO_QUEUE + 1):
        fan.audio(0, packet())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    key = packet(key=True)
    fan.video(key)
    assert await asyncio.wait_for(seeing, 1) is key
    hearing.cancel()


async def test_both_waits_end_with_viewer_closed_and_packets_of_before_are_gone() -> None:
    fan = fanout()
    viewer = fan.join()
    waits = [asyncio.create_task(viewer.video()), asyncio.create_task(viewer.audio())]
    await asyncio.sleep(0)
    viewer.close()
    viewer.close()
    results = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 1)
    assert [type(result) for result in results] == [ViewerClosed, ViewerClosed]
    assert len(fan) == 0
    fan.video(packet(key=True))
    with pytest.raises(ViewerClosed):
        await viewer.video()


def test_a_joining_viewer_waits_less_for_its_keyframe_than_a_lossy_one() -> None:
    gate = KeyGate()
    assert not gate.wanted(0.0)
    gate.join()
    assert gate.wanted(10.0)
    gate.made(10.0)
    gate.lost()
    assert not gate.wanted(10.0 + KEY_INTERVAL - 0.01)
    assert gate.wanted(10.0 + KEY_INTERVAL)
    gate.join()
    assert gate.wanted(10.0 + JOIN_INTERVAL)
    assert not gate.wanted(10.0 + JOIN_INTERVAL - 0.01)
    gate.made(11.0)
    assert not gate.wanted(20.0)
