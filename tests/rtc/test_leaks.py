"""Nothing stays behind when viewers come and go. bench/connects.py does the same 200 times and looks at memory."""

from __future__ import annotations

import asyncio
import threading

import psutil

from pipeline.session import SessionClosed
from server.rtc.registry import PeerRegistry
from tests.rtc.clients import AiortcViewer, until
from tests.rtc.fakes import FakeLive


async def come_and_go(peers: PeerRegistry, live: FakeLive, way: int) -> None:
    """way 0: the viewer leaves; 1: the server closes it; 2: it never answers the answer."""
    viewer = AiortcViewer()
    entry, answer = await peers.connect("s", live, "h264", await viewer.offer(), place="here")
    if way < 2:
        await viewer.accept(answer)
        await until(lambda: viewer.frames >= 1)
    if way > 0:
        await peers.close_peer("s", entry.id)
    await viewer.close()
    await until(lambda: peers.count() == 0)


def held() -> tuple[int, int, int]:
    """Sockets and other files, tasks, threads."""
    return psutil.Process().num_fds(), len(asyncio.all_tasks()), threading.active_count()


async def test_twenty_viewers_leave_no_socket_task_or_thread(peers: PeerRegistry, live: FakeLive) -> None:
    await come_and_go(peers, live, 0)
    await until(lambda: len(asyncio.all_tasks()) <= 3)
    before = held()
    for turn in range(20):
        await come_and_go(peers, live, turn % 3)
    await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    assert not live.viewers


async def test_a_session_that_ends_while_its_viewer_is_answered_leaves_no_socket(
    peers: PeerRegistry, live: FakeLive
) -> None:
    """The end comes at every step of the answer's making."""
    viewer = AiortcViewer()
    offer = await viewer.offer()
    await come_and_go(peers, live, 2)
    await until(lambda: len(asyncio.all_tasks()) <= 3)
    before = held()
    ended = 0
    for steps in range(40):
        joining = asyncio.create_task(peers.connect("s", live, "h264", offer, place="here"))
        for _ in range(steps):
            await asyncio.sleep(0)
        await peers.close_session("s")
        async with asyncio.timeout(30):
            outcome, *_ = await asyncio.gather(joining, return_exceptions=True)
        if isinstance(outcome, SessionClosed):
            ended += 1
        else:
            assert not isinstance(outcome, BaseException)
        await peers.close_session("s")
        assert peers.count() == 0
    assert ended
    await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    await viewer.close()
