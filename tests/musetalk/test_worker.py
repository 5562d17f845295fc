"""The worker in this process, with the golden network: what it tells, and what it outlives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")
import torch

from avatars.avatar import Avatar
from pipeline.lipsync.musetalk import worker as worker_module
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.messages import (
    Answer,
    Draw,
    Figures,
    FromWorker,
    OpenAvatar,
    Opened,
    Ready,
    Sound,
    Stop,
    ToWorker,
    WorkerSettings,
)
from pipeline.lipsync.musetalk.prepare import Preparer
from pipeline.lipsync.musetalk.settings import MuseTalkSettings
from pipeline.lipsync.musetalk.worker import Worker

from .fakes import avatar_on_disk
from .made_faces import GOLDEN

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]


class Pipe:
    """Stands for the inbox and the connection: what is put in comes in, what the worker says is kept."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._messages: list[Any] = []
        self.said: list[FromWorker] = []

    def put(self, message: Any) -> None:
        with self._came:
            self._messages.append(message)
            self._came.notify()

    def take(self, seconds: float | None) -> list[Any]:
        with self._came:
            self._came.wait_for(lambda: self._messages, seconds)
            taken, self._messages = self._messages, []
        return taken

    def send(self, messages: list[FromWorker]) -> None:
        self.said.extend(messages)

    def until(self, kind: type, count: int = 1) -> Any:
        """The nth thing of a kind that the worker says."""
        ends = time.monotonic() + 60
        while len(found := [one for one in self.said if isinstance(one, kind)]) < count:
            assert time.monotonic() < ends, f"it says no {kind.__name__}"
            time.sleep(0.02)
        return found[count - 1]


class Running:
    def __init__(self, worker: Worker, pipe: Pipe) -> None:
        self.worker, self.pipe = worker, pipe
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:  # noqa: BLE001 - the test ends with it
            self.error = error

    def say(self, *messages: ToWorker) -> None:
        for message in messages:
            self.pipe.put(message)

    def stop(self) -> None:
        self.say(Stop())
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    pipe = Pipe()
    settings = WorkerSettings(GOLDEN, device="cpu", run_ahead=1e6, slots=4)
    memory = torch.zeros((4, settings.slot_bytes), dtype=torch.uint8)
    made = Running(Worker(settings, pipe, pipe, memory), pipe)  # type: ignore[arg-type]
    yield made
    made.stop()
    assert made.error is None


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    made = avatar_on_disk(tmp_path_factory.mktemp("avatar"), 1)
    Preparer(find(GOLDEN)).prepare(made, MuseTalkSettings(), lambda _: None)
    return made


def order(key: int, avatar: Avatar) -> OpenAvatar:
    return OpenAvatar(key, str(avatar.path), avatar.width, avatar.height, avatar.count)


def draw(job: int, avatar: int, index: int = 0) -> Draw:
    return Draw(job, avatar, 0, 7, index, 1.0, time.monotonic() + 120, job)


def test_an_avatar_too_large_for_the_device_leaves_the_others(
    running: Running, subject: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.say(order(1, subject))
    assert running.pipe.until(Opened).problem is None

    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker_module, "Stage", too_large)
    running.say(order(2, subject))
    refused = running.pipe.until(Opened, 2)
    assert refused.avatar == 2
    assert "out of memory" in refused.problem
    running.say(Sound(7, np.zeros(6400, np.float32), True), draw(0, 2), draw(1, 1))
    running.pipe.until(Answer, 2)
    assert {answer.job: answer.outcome for answer in running.pipe.said if isinstance(answer, Answer)} == {
        0: "nothing",
        1: "drawn",
    }


def test_the_last_figures_are_told_though_nothing_more_comes(
    running: Running, subject: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TELL", 4.0)
    running.say(order(1, subject), Sound(7, np.zeros(6400, np.float32), True))
    running.pipe.until(Opened)
    for job in range(3):
        running.say(draw(job, 1, job))
        assert running.pipe.until(Answer, job + 1).outcome == "drawn"
    ends = time.monotonic() + 20
    running.pipe.until(Figures)
    while _last(running.pipe).drawn < 3:
        assert time.monotonic() < ends, f"the last that was told: {_last(running.pipe)}"
        time.sleep(0.05)
    assert running.pipe.until(Ready).frames_per_second > 0
    last = _last(running.pipe)
    assert last.sizes == {1: 3}
    assert last.seconds.count == 3
    assert last.seconds.sum > 0


def _last(pipe: Pipe) -> Figures:
    return [one for one in pipe.said if isinstance(one, Figures)][-1]


def test_the_device_that_is_set_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []

    class Begun(Exception):
        pass

    def begin(*_: Any) -> None:
        raise Begun

    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(worker_module.prompts, "Listener", begin)
    with pytest.raises(Begun):
        Worker(WorkerSettings(Path(GOLDEN), device="cuda:1"), Pipe(), Pipe(), torch.zeros(0))  # type: ignore[arg-type]
    assert chosen == [torch.device("cuda:1")]
