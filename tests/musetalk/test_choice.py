"""Whether MuseTalk is chosen, and how many sessions it lets in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pipeline.lipsync.warp.engine import WarpEngine
from server import doctor, parts
from server.admission import Admission, Limits, Refusal, Room
from server.settings import Settings, SettingsError, load

from .made_faces import GOLDEN


def choice(**lipsync: Any) -> str:
    """Why warp was chosen."""
    chosen = parts.choose_engine(Settings(lipsync=lipsync))  # type: ignore[arg-type]
    try:
        assert isinstance(chosen.engine, WarpEngine)
        return chosen.why
    finally:
        chosen.engine.close()


def test_warp_is_chosen_where_musetalk_is_off_or_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is off" in choice()
    assert "MUSETALK_BASE" in choice(enable_musetalk=True)
    assert "does not exist" in choice(enable_musetalk=True, musetalk_base=tmp_path / "none")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    missing = choice(enable_musetalk=True, musetalk_base=tmp_path)
    assert "torch" in missing
    assert "requirements-gpu.txt" in missing


def test_missing_files_are_named_with_the_command_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_NEEDED", ())
    why = choice(enable_musetalk=True, musetalk_base=tmp_path)
    assert "musetalkV15/unet.pth: missing" in why
    assert "models fetch musetalk" in why


def test_the_doctor_says_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_NEEDED", ())
    asked = Settings(lipsync={"enable_musetalk": True, "musetalk_base": tmp_path})  # type: ignore[arg-type]
    found = doctor._musetalk(asked)
    assert found.state == "bad"
    assert "models fetch musetalk" in found.mend
    assert doctor._musetalk(Settings()).state == "note"
    if GOLDEN.is_dir():
        there = Settings(lipsync={"enable_musetalk": True, "musetalk_base": GOLDEN})  # type: ignore[arg-type]
        assert doctor._musetalk(there).state == "ok"


@pytest.mark.shared
@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}")
def test_the_worker_is_told_device_and_precision() -> None:
    settings = Settings(lipsync={"musetalk_device": "cuda:1", "musetalk_precision": "fp16"})  # type: ignore[arg-type]
    worker = parts.musetalk_worker(settings.lipsync, GOLDEN, "1.0")
    assert (worker.device, worker.precision, worker.version) == ("cuda:1", "fp16", "1.0")
    assert parts.musetalk_worker(Settings().lipsync, GOLDEN, "1.5").precision is None


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cpu; rm"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(SettingsError, match="musetalk_device"):
        load(overrides={"lipsync": {"musetalk_device": device}})


def test_no_more_sessions_than_the_engine_can_draw() -> None:
    seats = Admission(Limits(max_sessions=8, first=60, leave=2, timeout=1800))
    assert seats.admit("a", 0.0, Room(2)) is None
    assert seats.admit("b", 0.0, Room(2)) is None
    refusal = seats.admit("c", 0.0, Room(2))
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after > 0
    seats.slept("a", 0.0)
    assert seats.admit("c", 0.0, Room(2)) is None
    assert isinstance(seats.wake("a", 0.0, Room(2)), Refusal)
    assert seats.wake("b", 0.0, Room(2)) is None  # it is awake already
    assert seats.wake("a", 0.0, Room()) is None  # the engine's worker is down, and warp draws: no limit of its own
