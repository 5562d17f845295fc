"""The engine around the renderer: threads, deadlines, bounds, and what it keeps on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.lipsync.engine import Face, LipSyncEngine
from pipeline.lipsync.warp import engine as engines
from pipeline.lipsync.warp import rig as rigs
from pipeline.lipsync.warp.calibrate import LIMIT, correction
from pipeline.lipsync.warp.engine import WarpEngine
from pipeline.media import CLOSED, MouthPatch, MouthShape
from tests.warp import faces

LONG = 30.0


class SilentAnalyser:
    """Knows no voice."""

    def feed(self, chunk: object) -> list[None]:
        return []

    def finish(self) -> list[None]:
        return []


def make(threads: int = 1) -> WarpEngine:
    return WarpEngine(threads, SilentAnalyser, locator_factory=lambda: None)


@pytest.fixture
def engine() -> Iterator[WarpEngine]:
    made = make()
    yield made
    made.close()


def test_it_is_a_lip_sync_engine(engine: WarpEngine, tmp_path: Path) -> None:
    as_engine: LipSyncEngine = engine
    face: Face = as_engine.open(faces.avatar(tmp_path, [0.01] * 2))
    assert as_engine.name == "warp"
    assert isinstance(face.analyser(), SilentAnalyser)
    patch = face.submit(0, MouthShape(0.5), 1.0, time.monotonic() + LONG).result(LONG)
    assert patch is not None
    assert patch.luma.dtype == np.uint8


def test_preparing_tells_its_progress_and_is_used_by_open(engine: WarpEngine, tmp_path: Path) -> None:
    avatar = faces.avatar(tmp_path, [0.01] * 2)
    steps: list[float] = []
    engine.prepare(avatar, steps.append)
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    file = tmp_path / "warp" / rigs.FILE
    written = file.stat().st_mtime_ns
    engine.open(avatar)
    assert file.stat().st_mtime_ns == written
    assert [p.name for p in (tmp_path / "warp").iterdir()] == [rigs.FILE]


def test_a_rig_is_read_as_it_was_written(tmp_path: Path) -> None:
    rig = rigs.build(faces.avatar(tmp_path, [0.01, 0.1, 0.01]))
    rigs.save(rig, tmp_path / "warp")
    again = rigs.load(tmp_path / "warp", 3)
    for name in ("neutral", "own", "override", "margin", "outer", "reach", "gap", "fit", "picture", "correction"):
        np.testing.assert_array_equal(getattr(rig, name), getattr(again, name))
    np.testing.assert_array_equal(rig.pose.axes, again.pose.axes)
    np.testing.assert_array_equal(rig.tones.tongue, again.tones.tongue)
    assert rig.idle_open == again.idle_open


@pytest.mark.parametrize("damage", ["missing", "torn", "junk", "older", "other clip"])
def test_open_prepares_anew_what_it_cannot_use(
    engine: WarpEngine, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar = faces.avatar(tmp_path, [0.01] * 3)
    folder = tmp_path / "warp"
    file = folder / rigs.FILE
    if damage == "older":
        monkeypatch.setattr(rigs, "VERSION", 0)
    rigs.save(rigs.build(faces.avatar(tmp_path, [0.01] * 2) if damage == "other clip" else avatar), folder)
    monkeypatch.undo()
    if damage == "missing":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "junk":
        file.write_bytes(b"not a zip file at all")
    with pytest.raises(rigs.RigError):
        rigs.load(folder, 3)
    face = engine.open(avatar)
    assert face.render(2, MouthShape(0.5), 1.0) is not None
    rigs.load(folder, 3)


def test_idle_closes_a_talking_mouth_and_leaves_a_resting_one(engine: WarpEngine, tmp_path: Path) -> None:
    face = engine.open(faces.avatar(tmp_path / "talks", [0.01] * 25 + [0.12] * 3 + [0.01] * 5))
    assert face.idle(0) is None
    assert face.idle(26) == CLOSED
    smiling = engine.open(faces.avatar(tmp_path / "smiles", [0.1] * 5))
    assert smiling.idle(2) is None


def test_a_closed_mouth_is_drawn_once_and_shown_in_every_round(
    engine: WarpEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = engine.open(faces.avatar(tmp_path, [0.20] * 3))
    drawn: list[int] = []
    render = face.renderer.render

    def counted(frame: int, mouth: MouthShape, presence: float) -> object:
        drawn.append(frame)
        return render(frame, mouth, presence)

    monkeypatch.setattr(face.renderer, "render", counted)

    def shown(frame: int, mouth: MouthShape = CLOSED, presence: float = 1.0) -> object:
        return face.submit(frame, mouth, presence, time.monotonic() + LONG).result(LONG)

    first = [shown(frame) for frame in range(3)]
    assert [shown(frame) for frame in range(3)] == first
    assert drawn == [0, 1, 2]
    shown(0, MouthShape(0.5))
    shown(0, CLOSED, 0.5)
    shown(0, MouthShape(0.5))
    assert drawn == [0, 1, 2, 0, 0, 0], "only what idle shows again is kept"


def test_closed_mouths_are_kept_within_bounds(
    engine: WarpEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = _bytes(engine.open(faces.avatar(tmp_path / "a", [0.20] * 3)).render(0, CLOSED, 1.0))
    monkeypatch.setattr(engines, "CLOSED_BYTES", 2 * size + size // 2)
    face = engine.open(faces.avatar(tmp_path / "b", [0.20] * 3))
    for _ in range(2):
        for frame in range(3):
            assert face.submit(frame, CLOSED, 1.0, time.monotonic() + LONG).result(LONG) is not None
    assert len(face._closed) == 2


def _bytes(patch: MouthPatch | None) -> int:
    assert patch is not None
    return patch.luma.nbytes + patch.u.nbytes + patch.v.nbytes


def test_how_many_may_speak_follows_from_what_mouths_cost(
    engine: WarpEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_MEASURED", 4)
    face = engine.open(faces.avatar(tmp_path, [0.01] * 2))

    def draw() -> None:
        assert face.submit(0, MouthShape(0.5), 1.0, time.monotonic() + LONG).result(LONG) is not None

    for _ in range(3):
        draw()
    assert engine.capacity() is None, "too few to tell"
    draw()
    measured = engine.capacity()
    assert measured is not None
    assert measured >= 1
    for _ in range(200):
        engine.measured(0.0019)
    assert engine.capacity() == 16  # 526 mouths a second, 80 % of them for 25 a second each
    two = make(threads=2)
    for _ in range(4):
        two.measured(0.0019)
    assert two.capacity() == 33
    for _ in range(200):
        engine.measured(0.5)
    assert engine.capacity() == 1, "one may always speak"
    two.close()


def test_what_is_late_is_not_rendered(engine: WarpEngine, tmp_path: Path) -> None:
    face = engine.open(faces.avatar(tmp_path, [0.01] * 2))
    assert face.submit(0, MouthShape(0.5), 1.0, time.monotonic() - 0.001).result(LONG) is None


def test_a_full_queue_gives_no_patch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_QUEUE_PER_THREAD", 3)
    engine, gate = make(), threading.Event()
    try:
        face = engine.open(faces.avatar(tmp_path, [0.01] * 2))

        def held() -> None:
            assert gate.wait(LONG)

        waiting = [engine.run(held) for _ in range(3)]
        refused = face.submit(0, MouthShape(0.5), 1.0, time.monotonic() + LONG)
        assert refused.done()
        assert refused.result() is None
        gate.set()
        for future in waiting:
            future.result(LONG)
        later = face.submit(0, MouthShape(0.5), 1.0, time.monotonic() + LONG)
        assert later.result(LONG) is not None
    finally:
        gate.set()
        engine.close()


def test_a_cancelled_rendering_frees_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_QUEUE_PER_THREAD", 2)
    engine, gate = make(), threading.Event()
    try:
        held = engine.run(lambda: gate.wait(LONG) and None)
        waiting = engine.run(lambda: None)
        assert waiting.cancel()
        assert not engine.run(lambda: None).done()
        gate.set()
        held.result(LONG)
    finally:
        gate.set()
        engine.close()


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    engine = make()
    face = engine.open(faces.avatar(tmp_path, [0.01] * 2))
    engine.close()
    with pytest.raises(RuntimeError):
        face.submit(0, CLOSED, 1.0, time.monotonic() + LONG)


def test_a_frame_that_is_not_there_is_an_error(engine: WarpEngine, tmp_path: Path) -> None:
    face = engine.open(faces.avatar(tmp_path, [0.01] * 2))
    for frame in (-1, 2):
        with pytest.raises(IndexError):
            face.submit(frame, CLOSED, 1.0, time.monotonic() + LONG)


def test_correction_undoes_what_the_face_exaggerates() -> None:
    asked = np.linspace(0, 0.15, 8)
    table = correction(asked, 1.2 * asked)
    assert table is not None
    np.testing.assert_allclose(np.interp(asked, table[:, 0], table[:, 1]), asked / 1.2, atol=1e-9)
    assert (np.diff(table[:, 1]) > 0).all()


def test_correction_is_limited_and_skipped_where_it_makes_no_sense() -> None:
    asked = np.linspace(0, 0.15, 8)
    table = correction(asked, 3 * asked)
    assert table is not None
    np.testing.assert_allclose(table[1:8, 1], (1 - LIMIT) * asked[1:])
    weak = correction(asked, 0.4 * asked)
    assert weak is not None
    np.testing.assert_allclose(weak[-2, 1], (1 + LIMIT) * asked[-1])
    wavy = asked.copy()
    wavy[4] = wavy[2]
    assert correction(asked, wavy) is None
    assert correction(asked, np.full(8, np.nan)) is None
