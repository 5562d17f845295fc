"""A server that is killed while it records: every film plays, up to its last fragment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.outputs.film import FRAGMENT_SECONDS
from server.recorder.mending import whole_bytes
from server.recorder.shelf import Shelf
from tests.recorder.child import PICTURES
from tests.recorder.films import read

ROOT = Path(__file__).resolve().parents[2]
WHOLE = PICTURES / 25


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    moment = random.Random(seed).randrange(60, 2 * PICTURES)
    told = record_until(tmp_path, moment)
    shelf = Shelf(tmp_path)
    records = shelf.load()
    assert records
    assert {record.id for record in records} >= set(told)
    for record in records:
        settled = shelf.settle(record) if record.state == "recording" else record
        assert settled.state in ("complete", "cut_off")
        seconds = told.get(record.id, 0.0)
        if settled.state == "complete":
            assert settled.seconds == pytest.approx(WHOLE)
        else:
            assert settled.reason == "killed"
            assert seconds - FRAGMENT_SECONDS - 0.1 <= settled.seconds <= seconds + 0.1
            assert settled.bytes == shelf.film(record).stat().st_size
        if settled.seconds:
            film = read(shelf.film(record))
            assert film.seconds == pytest.approx(settled.seconds, abs=0.06)
            assert abs(film.pictures[-1][0] - film.sounds[-1][0]) < 0.1
    assert {record.state for record in shelf.load()} <= {"complete", "cut_off"}, "it is told on disk, too"


def record_until(folder: Path, pictures: int) -> dict[str, float]:
    """Kill the child once it has told so many pictures; gives what it told of each film."""
    command = [sys.executable, "-m", "tests.recorder.child", str(folder)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    told: dict[str, float] = {}
    assert child.stdout is not None
    with child:
        for count, line in enumerate(child.stdout):
            film, seconds = line.split()
            told[film] = float(seconds)
            if count == pictures:
                child.kill()  # what it still said is read to the end
    assert child.returncode == -signal.SIGKILL
    assert told
    return told


def test_a_film_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.recorder.child", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGSTOP)
            shelf = Shelf(tmp_path)
            (record,) = shelf.load()
            assert shelf.settle(record) == record
        finally:
            child.kill()
    assert shelf.settle(record).state == "cut_off"


def test_a_fragment_counts_with_its_data_only(tmp_path: Path) -> None:
    def box(kind: bytes, size: int) -> bytes:
        return size.to_bytes(4, "big") + kind + bytes(size - 8)

    path = tmp_path / "film.mp4"
    head = box(b"ftyp", 24) + box(b"moov", 100)
    fragment = box(b"moof", 40) + box(b"mdat", 200)
    for tail, whole in (
        (b"", 0),
        (fragment[:20], 0),
        (fragment[:40], 0),
        (fragment[:-1], 0),
        (fragment, len(fragment)),
        (fragment + fragment[:41], len(fragment)),
        (fragment + b"\0\0\0", len(fragment)),
        (fragment + bytes(100), len(fragment)),
    ):
        path.write_bytes(head + tail)
        with path.open("rb") as file:
            assert whole_bytes(file) == len(head) + whole
