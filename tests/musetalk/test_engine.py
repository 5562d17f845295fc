"""The engine with its worker process on the CPU and the golden network: patches, failure and what goes on after it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")
import torch

from avatars.avatar import Avatar, planes
from pipeline.lipsync.engine import EngineFallback
from pipeline.lipsync.musetalk import blending, colour, latents, networks, prepared, prompts
from pipeline.lipsync.musetalk.analyser import Spoken
from pipeline.lipsync.musetalk.engine import MuseTalkEngine, MuseTalkFace
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.messages import WorkerSettings
from pipeline.media import MouthPatch, SpeechChunk

from .fakes import PATCH, FakeWarp, FakeWarpFace, avatar_on_disk, chunks
from .made_faces import GOLDEN

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]

SOON = 120.0
"""Seconds to a deadline that is met on any machine: a mouth of the tiny network takes 0.2 s of a core."""

Patch = Future[MouthPatch | None]


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def engine() -> Iterator[MuseTalkEngine]:
    made = MuseTalkEngine(WorkerSettings(GOLDEN, device="cpu", run_ahead=1e6, slots=16), FakeWarp())
    try:
        assert made.renderer.wait(60)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return avatar_on_disk(tmp_path_factory.mktemp("avatar"))


@pytest.fixture(scope="module")
def face(engine: MuseTalkEngine, subject: Avatar) -> MuseTalkFace:
    opened = engine.open(subject)
    assert isinstance(opened, MuseTalkFace)
    wait_for(lambda: opened.opened)
    return opened


def speech(seconds: float = 0.4) -> np.ndarray:
    """48 kHz int16."""
    t = np.arange(round(seconds * 48000)) / 48000
    return (8000 * np.sin(2 * np.pi * 180 * t) * (1 + np.sin(2 * np.pi * 4 * t))).astype(np.int16)


def spoken(face: MuseTalkFace, pcm: np.ndarray) -> list[Spoken]:
    analyser = face.analyser()
    out = [mouth for chunk in chunks(pcm, 9600) for mouth in analyser.feed(chunk)] + list(analyser.finish())
    mouths = [mouth for mouth in out if isinstance(mouth, Spoken)]
    assert len(mouths) == len(out)
    return mouths


def patch_of(future: Patch) -> MouthPatch:
    patch = future.result(60)
    assert patch is not None
    return patch


def test_a_patch_is_the_reference_s_blend_and_the_frame_outside_the_mask(
    engine: MuseTalkEngine, face: MuseTalkFace, subject: Avatar
) -> None:
    pcm = speech()
    mouths = spoken(face, pcm)
    assert len(mouths) == 10
    patch = patch_of(face.submit(1, mouths[4], 1.0, time.monotonic() + SOON))
    data = prepared.load(subject.path / "musetalk")
    x, y, w, h = data.patch(1)
    assert (patch.x, patch.y, patch.luma.shape) == (x, y, (h, w))
    own = planes(subject.frames[1], subject.width, subject.height)
    soft = data.patch_mask(1)
    luma = own[0][y : y + h, x : x + w]
    assert np.array_equal(patch.luma[soft == 0], luma[soft == 0])
    assert np.abs(patch.luma.astype(int) - luma)[soft > 128].mean() > 10
    untouched = soft.reshape(h // 2, 2, w // 2, 2).max((1, 3)) == 0
    for plane, before in ((patch.u, own[1]), (patch.v, own[2])):
        assert np.array_equal(plane[untouched], before[y // 2 : (y + h) // 2, x // 2 : (x + w) // 2][untouched])

    # The same by the plain way of SPEC section 4, whole frame, in BGR.
    listener = prompts.Listener(find(GOLDEN))
    sound = np.concatenate([frame for frame in _resampled(pcm)])
    said = torch.from_numpy(listener.prompts(sound)[4:5] + prompts.positional())
    with torch.inference_mode():
        predicted = networks.unet(find(GOLDEN))(torch.from_numpy(data.latents[1:2].copy()), torch.tensor([0]), said)
    picture = latents.decode(networks.vae(find(GOLDEN)), predicted.sample).numpy()[0]
    left, top, right, bottom = blending.crop_box(data.box(1))
    x0, y0, x1, y1 = data.box(1)
    whole = np.zeros((bottom - top, right - left), np.uint8)
    whole[y0 - top : y1 - top, x0 - left : x1 - left] = data.mask(1)
    frame = colour.bgr(subject, 1).copy()
    blending.blend(frame, picture, data.box(1), whole)
    expected = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)[: subject.height][y : y + h, x : x + w]
    off = np.abs(patch.luma.astype(int) - expected)
    assert off.max() <= 3
    assert off.mean() < 0.6


def _resampled(pcm: np.ndarray) -> list[np.ndarray]:
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 48000
    return [out.to_ndarray()[0] for given in (frame, None) for out in resampler.resample(given)]


def test_presence_fades_to_exactly_the_frame(face: MuseTalkFace, subject: Avatar) -> None:
    mouth = spoken(face, speech())[2]
    gone = patch_of(face.submit(0, mouth, 0.0, time.monotonic() + SOON))
    own = planes(subject.frames[0], subject.width, subject.height)
    h, w = gone.luma.shape
    for plane, before, s in ((gone.luma, own[0], 1), (gone.u, own[1], 2), (gone.v, own[2], 2)):
        x, y = gone.x // s, gone.y // s
        assert np.array_equal(plane, before[y : y + h // s, x : x + w // s])


def test_a_slot_is_kept_while_its_patch_is_held_and_free_after(engine: MuseTalkEngine, face: MuseTalkFace) -> None:
    orders = engine.renderer._orders
    assert orders is not None
    memory = orders.memory
    gc.collect()
    free = len(memory.free)
    mouths = spoken(face, speech())
    held = patch_of(face.submit(0, mouths[0], 1.0, time.monotonic() + SOON))
    before = held.luma.copy()
    assert len(memory.free) == free - 1
    only_v = held.v
    for mouth in mouths[1:4]:
        patch_of(face.submit(0, mouth, 1.0, time.monotonic() + SOON))
    wait_for(lambda: len(memory.free) == free - 1)  # the renderer's thread may still hold the last one
    assert np.array_equal(held.luma, before)
    del held
    assert len(memory.free) == free - 1
    del only_v
    wait_for(lambda: len(memory.free) == free)


def test_a_cancelled_or_late_mouth_is_not_drawn(engine: MuseTalkEngine, face: MuseTalkFace) -> None:
    mouths = spoken(face, speech())
    with pytest.raises(CancelledError):
        face.submit(0, mouths[0], 1.0, time.monotonic() - 1).result(30)
    pid = engine.renderer.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that none of them is finished before
    busy = [face.submit(0, mouth, 1.0, time.monotonic() + SOON) for mouth in mouths[1:3]]
    cancelled = face.submit(0, mouths[5], 1.0, time.monotonic() + SOON)
    assert cancelled.cancel()
    os.kill(pid, signal.SIGCONT)
    for future in busy:
        patch_of(future)
    assert patch_of(face.submit(0, mouths[6], 1.0, time.monotonic() + SOON)) is not None
    wait_for(lambda: not engine.renderer._orders, 10)


def test_avatars_are_prepared_one_at_a_time(
    engine: MuseTalkEngine, subject: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[int] = [0]
    most: list[int] = []

    def prepare(*_: object) -> None:
        under_way[0] += 1
        most.append(under_way[0])
        time.sleep(0.3)
        under_way[0] -= 1

    monkeypatch.setattr("pipeline.lipsync.musetalk.engine.prepare_apart", prepare)
    preparing = [threading.Thread(target=engine.prepare, args=(subject, lambda _: None)) for _ in range(3)]
    for thread in preparing:
        thread.start()
    for thread in preparing:
        thread.join(30)
    assert most == [1, 1, 1]


def test_silence_has_no_mouths(face: MuseTalkFace) -> None:
    analyser = face.analyser()
    assert list(analyser.feed(SpeechChunk(np.zeros(19200, np.int16)))) == [None] * 7  # 132.5 ms are waited for
    assert list(analyser.finish()) == [None] * 3


def test_a_dead_worker_is_told_bridged_by_warp_and_started_again(engine: MuseTalkEngine, face: MuseTalkFace) -> None:
    renderer = engine.renderer
    mouths = spoken(face, speech())
    pid = renderer.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that none of them is finished before
    gone = face.submit(0, mouths[0], 1.0, time.monotonic() + SOON - 1)
    waiting = [face.submit(0, mouth, 1.0, time.monotonic() + SOON) for mouth in mouths[1:6]]
    gone.cancel()
    os.kill(pid, signal.SIGKILL)
    outcomes = [future.exception(20) for future in waiting if future.exception(20) is not None]
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], EngineFallback)
    assert waiting[-1].result(1) is PATCH
    assert face.submit(0, mouths[7], 1.0, time.monotonic() + SOON).result(1) is PATCH  # the same utterance
    assert not psutil.pid_exists(pid)
    wait_for(lambda: face.opened)
    assert face.submit(0, mouths[8], 1.0, time.monotonic() + SOON).result(1) is PATCH  # still the same one
    again = spoken(face, speech())[3]
    assert patch_of(face.submit(0, again, 1.0, time.monotonic() + SOON)) is not PATCH
    assert renderer.restarts == 1


def test_a_dead_worker_is_told_though_nothing_was_under_way(
    engine: MuseTalkEngine, face: MuseTalkFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mouths = spoken(face, speech())
    patch_of(face.submit(0, mouths[0], 1.0, time.monotonic() + SOON))
    wait_for(lambda: not engine.renderer._orders, 10)
    pid = engine.renderer.pid
    assert pid is not None
    wait = subprocess.Popen.wait

    def slow(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        time.sleep(0.5)  # one that has a GPU to give back takes its time
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", slow)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: engine.renderer.ready is None, 10)
    assert not face.opened
    with pytest.raises(EngineFallback, match="ended"):
        face.submit(0, mouths[1], 1.0, time.monotonic() + SOON).result(1)
    assert face.submit(0, mouths[2], 1.0, time.monotonic() + SOON).result(1) is PATCH
    wait_for(lambda: face.opened)


def test_a_worker_that_hangs_is_ended(
    engine: MuseTalkEngine, face: MuseTalkFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mouth = spoken(face, speech())[0]
    monkeypatch.setattr("pipeline.lipsync.musetalk.renderer.HANG_SECONDS", -SOON + 0.5)
    monkeypatch.setattr("pipeline.lipsync.musetalk.renderer.BACK_OFF", (60.0,))  # nobody needs it after this
    pid = engine.renderer.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineFallback, match="no answer"):
        face.submit(0, mouth, 1.0, time.monotonic() + SOON).result(10)
    assert not psutil.pid_exists(pid)


def test_wrong_weights_are_told_once_and_warp_goes_on(tmp_path: Path, subject: Avatar) -> None:
    for entry in (GOLDEN / "models").iterdir():
        (tmp_path / "models" / entry.name).mkdir(parents=True)
        for file in entry.iterdir():
            (tmp_path / "models" / entry.name / file.name).symlink_to(file)
    (tmp_path / "models" / "musetalkV15" / "unet.pth").unlink()
    (tmp_path / "models" / "musetalkV15" / "unet.pth").write_bytes(b"not weights")
    warp = FakeWarp()
    broken = MuseTalkEngine(WorkerSettings(tmp_path, device="cpu"), warp)
    try:
        assert not broken.renderer.wait(60)
        assert broken.renderer.status == "broken"
        assert "unet.pth" in broken.renderer.problem
        assert broken.capacity() is None
        opened = broken.open(subject)
        assert isinstance(opened, MuseTalkFace)
        mouth = spoken(opened, speech())[0]
        assert mouth.utterance is None
        assert opened.submit(0, mouth, 1.0, time.monotonic()).result(1) is PATCH
        (unprepared := avatar_on_disk(tmp_path / "new")).path.joinpath("faces.npz").unlink()
        assert isinstance(broken.open(unprepared), FakeWarpFace)  # it cannot be prepared either
    finally:
        broken.close()
    assert warp.closed


def test_closing_leaves_no_process(subject: Avatar) -> None:
    made = MuseTalkEngine(WorkerSettings(GOLDEN, device="cpu"), FakeWarp())
    wait_for(lambda: made.renderer.pid is not None)
    pid = made.renderer.pid
    assert pid is not None
    made.close()
    assert not psutil.pid_exists(pid)


def test_the_worker_dies_with_its_server() -> None:
    code = f"""
import os, time
from pathlib import Path
from pipeline.lipsync.musetalk.messages import WorkerSettings
from pipeline.lipsync.musetalk.renderer import Renderer
renderer = Renderer(WorkerSettings(Path({str(GOLDEN)!r}), device="cpu"))
renderer.start()
while renderer.pid is None:
    time.sleep(0.01)
print(renderer.pid, flush=True)
os._exit(9)
"""
    server = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert server.returncode == 9, server.stderr
    wait_for(lambda: not psutil.pid_exists(int(server.stdout)), 10)
