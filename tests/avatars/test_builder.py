"""Builds: made whole, told as they go, one at a time, cancelled, resumed after a crash, never half shown."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatars import builder as builder_module
from avatars import master
from avatars.avatar import Avatar
from avatars.builder import AvatarBuilder
from avatars.cli import create
from avatars.errors import AvatarError
from avatars.jobs import Job
from avatars.record import AvatarRecord, BuildRequest
from avatars.stages import BuildSettings, Progress
from avatars.store import AvatarStore, read_record
from tests.avatars.conftest import REPO

LIMIT = 60


@pytest.fixture
async def builder(store: AvatarStore, settings: BuildSettings) -> AsyncIterator[AvatarBuilder]:
    made = AvatarBuilder(store, settings)
    await made.start()
    yield made
    await asyncio.wait_for(made.close(), LIMIT)


class FakeChildren:
    """Stands in for the two children: answers at once, or when it is let go; lays a finished avatar's files down."""

    def __init__(self, built: Path) -> None:
        self._built = built
        self.running: list[str] = []
        self.most = 0
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, name: str, spec: dict[str, Any], limits: object, tell: Progress, *, about: str) -> Any:
        record = read_record(self._built)
        assert record is not None
        if spec.get("task") == "probe":
            return {"source": record.source.model_dump() if record.source else {}, "still": False}
        self.running.append(about)
        self.most = max(self.most, len(set(self.running)))
        self.begun.put_nowait(about)
        try:
            for step in range(10):
                tell(step / 10)
            await self.go.wait()
        finally:
            self.running.remove(about)
        if name == "decode_child":
            Path(spec["output"]).write_bytes((self._built / master.MASTER).read_bytes())
            return {"width": record.width, "height": record.height, "frames": record.frames}
        for file in ("faces.npz", "preview.jpg", master.CACHE):
            (Path(spec["folder"]) / file).write_bytes((self._built / file).read_bytes())
        return {"quality": record.quality.model_dump() if record.quality else {}}


@pytest.fixture
def children(built: Path, monkeypatch: pytest.MonkeyPatch) -> FakeChildren:
    fake = FakeChildren(built)
    monkeypatch.setattr(builder_module, "run_child", fake)
    return fake


def order(avatar_id: str, clip: Path, **more: Any) -> BuildRequest:
    return BuildRequest(avatar_id=avatar_id, video=clip, **more)


async def test_a_clip_becomes_an_avatar(store: AvatarStore, settings: BuildSettings, clip: Path) -> None:
    def prepare(avatar: Avatar, progress: Progress) -> None:
        assert avatar.frames.shape == (26, 640 * 360 * 3 // 2)
        (avatar.path / "fake").mkdir()
        (avatar.path / "fake" / "data.bin").write_bytes(b"prepared")
        progress(0.5)
        progress(1.0)

    builder = AvatarBuilder(store, settings, prepare)
    await builder.start()
    try:
        accepted = await builder.submit(order("ada", clip, tutor_id="t1", consent=True))
        assert (accepted.state, accepted.stage) == ("preparing", "queued")
        with pytest.raises(AvatarError, match="not ready"):
            store.open("ada")
        seen = [record async for record in builder.events("ada")]
    finally:
        await asyncio.wait_for(builder.close(), LIMIT)
    progress = [record.progress for record in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 5
    stages = list(dict.fromkeys(record.stage for record in seen))
    assert stages[-3:] == ["preparing_engine", "saving", "done"] or stages[-2:] == ["preparing_engine", "done"]
    done = store.get("ada")
    assert done == seen[-1]
    assert (done.state, done.progress, done.frames, done.width, done.height) == ("ready", 1.0, 26, 640, 360)
    assert done.engines == ("fake",)
    assert done.tutor_id == "t1"
    assert done.consent.given
    assert done.consent.at is not None
    assert done.source is not None
    assert done.source.codec == "h264"
    assert done.quality is not None
    assert done.quality.ok
    names = {p.name for p in store.folder("ada").iterdir()}
    assert names == {"avatar.json", "frames.mp4", "frames.i420", "faces.npz", "preview.jpg", "fake"}
    assert list(store.building.iterdir()) == []
    assert clip.exists()
    assert store.preview("ada").read_bytes()[:2] == b"\xff\xd8"
    frames = list(master.read(store.folder("ada") / "frames.mp4"))
    avatar = store.open("ada")
    assert all(np.array_equal(avatar.frames[n], frame.reshape(-1)) for n, frame in enumerate(frames))


async def test_a_second_avatar_of_the_same_name_is_refused(
    builder: AvatarBuilder, children: FakeChildren, clip: Path
) -> None:
    children.go.clear()
    await builder.submit(order("ada", clip))
    for _ in range(2):
        with pytest.raises(AvatarError) as caught:
            await builder.submit(order("ada", clip))
        assert caught.value.code == "exists"
        children.go.set()
        await asyncio.wait_for(builder.wait("ada"), LIMIT)


async def test_builds_wait_for_each_other(builder: AvatarBuilder, children: FakeChildren, clip: Path) -> None:
    children.go.clear()
    for name in ("one", "two", "three"):
        await builder.submit(order(name, clip))
    assert await asyncio.wait_for(children.begun.get(), LIMIT) == "one"
    assert builder._store.get("two").stage == "queued"
    children.go.set()
    for name in ("three", "two", "one"):
        assert (await asyncio.wait_for(builder.wait(name), LIMIT)).state == "ready"
    assert children.most == 1
    assert [r.id for r in builder._store.list()] == ["one", "two", "three"]


async def test_the_queue_is_bounded(store: AvatarStore, children: FakeChildren, clip: Path) -> None:
    builder = AvatarBuilder(store, BuildSettings(min_free_bytes=1, max_queued=2))
    await builder.start()
    children.go.clear()
    try:
        await builder.submit(order("one", clip))
        await builder.submit(order("two", clip))
        with pytest.raises(AvatarError) as caught:
            await builder.submit(order("three", clip))
        assert caught.value.code == "busy"
    finally:
        await asyncio.wait_for(builder.close(), LIMIT)


async def test_uploads_at_the_same_time_are_looked_at_in_turn_and_count_for_the_queue(
    store: AvatarStore, children: FakeChildren, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = most = 0
    looks: asyncio.Queue[str] = asyncio.Queue()
    go = asyncio.Event()

    async def child(name: str, spec: dict[str, Any], limits: object, tell: Progress, *, about: str) -> Any:
        nonlocal looking, most
        if spec.get("task") == "probe":
            looking += 1
            most = max(most, looking)
            looks.put_nowait(about)
            await go.wait()
            looking -= 1
        return await children(name, spec, limits, tell, about=about)

    monkeypatch.setattr(builder_module, "run_child", child)
    builder = AvatarBuilder(store, BuildSettings(min_free_bytes=1, max_queued=6))
    await builder.start()
    children.go.clear()
    try:
        orders = [asyncio.create_task(builder.submit(order(f"a{n}", clip))) for n in range(10)]
        await asyncio.wait_for(looks.get(), LIMIT)
        go.set()
        async with asyncio.timeout(LIMIT):
            answers = await asyncio.gather(*orders, return_exceptions=True)
        refused = [answer.code for answer in answers if isinstance(answer, AvatarError)]
        assert refused == ["busy"] * 4
        assert len(store.list()) == 6
        assert most <= 2
    finally:
        await asyncio.wait_for(builder.close(), LIMIT)


async def test_an_upload_is_moved_an_import_is_copied(
    builder: AvatarBuilder, children: FakeChildren, clip: Path, tmp_path: Path
) -> None:
    upload = builder._store.uploads / "upload"
    upload.write_bytes(clip.read_bytes())
    await builder.submit(order("ada", upload, move=True))
    assert not upload.exists()
    assert (await asyncio.wait_for(builder.wait("ada"), LIMIT)).state == "ready"


async def test_a_build_is_deleted_while_it_runs_and_while_it_waits(
    builder: AvatarBuilder, children: FakeChildren, clip: Path
) -> None:
    children.go.clear()
    await builder.submit(order("one", clip))
    await builder.submit(order("two", clip))
    await asyncio.wait_for(children.begun.get(), LIMIT)
    watcher = asyncio.create_task(_all(builder, "one"))
    await asyncio.sleep(0)
    await builder.delete("two")
    await builder.submit(order("two", clip))  # the first order for it must not come back
    await builder.delete("one")
    await builder.delete("two")
    assert (await asyncio.wait_for(watcher, LIMIT))[-1].state == "preparing"
    assert builder._store.list() == []
    assert list(builder._store.building.iterdir()) == []
    with pytest.raises(AvatarError) as caught:
        await builder.delete("one")
    assert caught.value.code == "not_found"
    children.go.set()
    await builder.submit(order("one", clip))
    assert (await asyncio.wait_for(builder.wait("one"), LIMIT)).state == "ready"


async def _all(builder: AvatarBuilder, avatar_id: str) -> list[AvatarRecord]:
    return [record async for record in builder.events(avatar_id)]


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("bug"), "engine_failed"), (OSError(28, "No space left on device"), "disk_full")]
)
async def test_an_engine_that_fails_fails_the_build(
    store: AvatarStore, settings: BuildSettings, children: FakeChildren, clip: Path, error: Exception, code: str
) -> None:
    def prepare(avatar: Avatar, progress: Progress) -> None:
        raise error

    builder = AvatarBuilder(store, settings, prepare)
    await builder.start()
    try:
        await builder.submit(order("ada", clip))
        record = await asyncio.wait_for(builder.wait("ada"), LIMIT)
    finally:
        await asyncio.wait_for(builder.close(), LIMIT)
    assert record.error is not None
    assert record.error.code == code


async def test_closing_stops_an_engine_and_the_next_start_goes_on(
    store: AvatarStore, settings: BuildSettings, children: FakeChildren, clip: Path
) -> None:
    entered = threading.Event()

    def endless(avatar: Avatar, progress: Progress) -> None:
        entered.set()
        pause = threading.Event()
        while True:
            pause.wait(0.005)
            progress(0.5)

    first = AvatarBuilder(store, settings, endless)
    await first.start()
    await first.submit(order("ada", clip))
    assert await asyncio.to_thread(entered.wait, LIMIT)
    await asyncio.wait_for(first.close(), LIMIT)
    kept = Job(store.building / "ada").order()
    assert kept is not None
    assert kept.attempts == 0  # an orderly end does not count
    assert store.get("ada").state == "preparing"

    second = AvatarBuilder(store, settings, lambda avatar, progress: None)
    await second.start()
    try:
        assert (await asyncio.wait_for(second.wait("ada"), LIMIT)).state == "ready"
    finally:
        await asyncio.wait_for(second.close(), LIMIT)


SERVER = """
import asyncio, os, signal, sys
from pathlib import Path
from avatars.builder import AvatarBuilder
from avatars.record import BuildRequest
from avatars.stages import BuildSettings
from avatars.store import AvatarStore

async def main():
    store = AvatarStore(Path(sys.argv[1]), cache_bytes=1 << 30)
    builder = AvatarBuilder(store, BuildSettings(min_free_bytes=1, nice=0))
    await builder.start()
    if len(sys.argv) > 3:
        await builder.submit(BuildRequest(avatar_id="ada", video=Path(sys.argv[3])))
    async for record in builder.events("ada"):
        if record.stage == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def kill_during(stage: str, root: Path, *args: str) -> None:
    """Run a server in a process of its own, which kills itself (-9) as soon as it is at this stage."""
    command = (sys.executable, "-c", SERVER, str(root), stage, *args)
    server = await asyncio.create_subprocess_exec(*command, cwd=REPO)
    try:
        async with asyncio.timeout(LIMIT):
            assert await server.wait() == -signal.SIGKILL, f"the server never came to {stage}"
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGKILL)
            await server.wait()


@pytest.mark.usefixtures("face_models")
async def test_a_killed_server_resumes_its_build_once_and_then_gives_it_up(
    tmp_path: Path, clip: Path, settings: BuildSettings
) -> None:
    root = tmp_path / "avatars"
    await kill_during("finding_face", root, str(clip))
    store = AvatarStore(root, cache_bytes=1 << 30)
    half = store.get("ada")
    assert half.state == "preparing"
    assert not (root / "ada").exists()

    resumed = AvatarBuilder(store, settings)
    await resumed.start()
    try:
        assert (await asyncio.wait_for(resumed.wait("ada"), LIMIT)).state == "ready"
    finally:
        await asyncio.wait_for(resumed.close(), LIMIT)
    assert list(store.building.iterdir()) == []
    store.delete("ada")

    await kill_during("decoding", root, str(clip))
    await kill_during("decoding", root)
    again = AvatarBuilder(store, settings)
    await again.start()
    try:
        record = await asyncio.wait_for(again.wait("ada"), LIMIT)
        assert record.state == "failed"
        assert record.error is not None
        assert record.error.code == "interrupted"
        assert not (store.building / "ada" / "source").exists()
    finally:
        await asyncio.wait_for(again.close(), LIMIT)


async def test_a_crash_between_the_last_two_steps_leaves_a_ready_avatar(
    store: AvatarStore, settings: BuildSettings, children: FakeChildren, clip: Path
) -> None:
    first = AvatarBuilder(store, settings)
    await first.start()
    children.go.clear()
    await first.submit(order("ada", clip))
    await asyncio.wait_for(children.begun.get(), LIMIT)
    leftovers = {p.name: p.read_bytes() for p in (store.building / "ada").iterdir() if p.is_file()}
    children.go.set()
    await asyncio.wait_for(first.wait("ada"), LIMIT)
    await asyncio.wait_for(first.close(), LIMIT)
    (store.building / "ada").mkdir()
    for name, data in leftovers.items():
        (store.building / "ada" / name).write_bytes(data)
    second = AvatarBuilder(store, settings)
    await second.start()
    await asyncio.wait_for(second.close(), LIMIT)
    assert store.get("ada").state == "ready"
    assert list(store.building.iterdir()) == []


async def test_what_another_process_builds_is_left_to_it(
    store: AvatarStore, settings: BuildSettings, children: FakeChildren, clip: Path
) -> None:
    command_line = AvatarBuilder(store, settings)
    await command_line.start_alone()
    children.go.clear()
    await command_line.submit(order("ada", clip))
    await asyncio.wait_for(children.begun.get(), LIMIT)
    other = AvatarStore(store.root, cache_bytes=1 << 30)
    server = AvatarBuilder(other, settings)
    await server.start()
    try:
        assert other.get("ada").state == "preparing"
        watching = asyncio.create_task(server.wait("ada"))
        children.go.set()
        assert (await asyncio.wait_for(command_line.wait("ada"), LIMIT)).state == "ready"
        assert (await asyncio.wait_for(watching, LIMIT)).state == "ready"
    finally:
        await asyncio.wait_for(server.close(), LIMIT)
        await asyncio.wait_for(command_line.close(), LIMIT)


def test_the_command_line_makes_one_or_leaves_nothing(
    store: AvatarStore, settings: BuildSettings, built: Path, clip: Path, tmp_path: Path, children: FakeChildren
) -> None:
    seen: list[AvatarRecord] = []
    record = create(store, settings, None, "ada", clip, seen.append, consent=True)
    assert record.state == "ready"
    assert seen[-1] == record

    def broken(avatar: Avatar, progress: Progress) -> None:
        raise RuntimeError("bug")

    with pytest.raises(AvatarError) as caught:
        create(store, settings, broken, "bob", clip, seen.append)
    assert caught.value.code == "engine_failed"
    with pytest.raises(AvatarError):
        create(store, settings, None, "bob", tmp_path / "nothing.mp4", seen.append)

    def interrupt(record: AvatarRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(store, settings, None, "bob", clip, interrupt)
    assert [r.id for r in store.list()] == ["ada"]
    assert os.listdir(store.building) == []


async def test_each_builds_end_is_told_with_its_outcome(
    store: AvatarStore, settings: BuildSettings, clip: Path, children: FakeChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[tuple[str, str]] = []
    took: list[float] = []

    def ended(outcome: str, code: str, seconds: float) -> None:
        ends.append((outcome, code))
        took.append(seconds)

    builder = AvatarBuilder(store, settings, ended=ended)
    await builder.start()
    try:
        children.go.clear()
        for avatar_id in ("one", "two"):
            await builder.submit(order(avatar_id, clip))
        assert await asyncio.wait_for(children.begun.get(), LIMIT) == "one"
        assert (builder.running, builder.waiting) == (["one"], ["two"])
        children.go.set()
        for avatar_id in ("one", "two"):
            await asyncio.wait_for(builder.wait(avatar_id), LIMIT)
        assert (builder.running, builder.waiting) == ([], [])
        assert ends == [("ready", ""), ("ready", "")]
        assert all(seconds > 0 for seconds in took)

        async def broken(name: str, spec: dict[str, Any], *rest: object, about: str) -> Any:
            if spec.get("task") == "probe":
                return await children(name, spec, *rest, about=about)  # type: ignore[arg-type]
            raise AvatarError("no_face")

        monkeypatch.setattr(builder_module, "run_child", broken)
        await builder.submit(order("three", clip))
        await asyncio.wait_for(builder.wait("three"), LIMIT)
        assert ends[2:] == [("failed", "no_face")]

        monkeypatch.setattr(builder_module, "run_child", children)
        children.go.clear()
        await builder.submit(order("four", clip))
        while await asyncio.wait_for(children.begun.get(), LIMIT) != "four":
            pass
        await builder.delete("four")
        assert ends[3:] == [("cancelled", "")]
        await builder.submit(order("five", clip))
        while await asyncio.wait_for(children.begun.get(), LIMIT) != "five":
            pass
    finally:
        await asyncio.wait_for(builder.close(), LIMIT)
    assert len(ends) == 4, "the one that goes on at the next start has not ended"
