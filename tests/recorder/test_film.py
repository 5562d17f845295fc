"""A session's film: the same packets, with the lips on their sound, whatever happens to the session meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.events import SpeechEnded, SpeechStarted
from pipeline.outputs import timeline
from pipeline.outputs import writer as writing
from pipeline.outputs.film import FORMATS, FilmFile
from pipeline.outputs.tap import Tap
from pipeline.outputs.writer import Writer
from pipeline.session import LiveSession
from tests.pipeline.conftest import SETTINGS, OpenShow, Show
from tests.recorder.films import read


@dataclass
class Camera:
    path: Path
    film: FilmFile
    writer: Writer
    tap: Tap
    failures: list[Exception]


@asynccontextmanager
async def filming(folder: Path, codec: str = "h264") -> AsyncIterator[Camera]:
    """A film that is whole after the block."""
    path = folder / f"film.{FORMATS[codec]}"
    path.touch()
    failures: list[Exception] = []
    film = FilmFile(path, codec)
    writer = Writer(film, "film", failures.append)
    try:
        yield Camera(path, film, writer, Tap(writer), failures)
    finally:
        assert await writer.close(30)


@asynccontextmanager
async def pulling(camera: Camera, live: LiveSession) -> AsyncIterator[None]:
    task = asyncio.create_task(camera.tap.run(live))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def spoken(stage: Show, text: str) -> None:
    """Say it, with half a second of silence around it."""
    async with stage.receive(decode=False) as seen:
        await seen.until(lambda: len(seen.pictures) >= 12)
        await stage.event(SpeechEnded, stage.live.say(text))
        end = len(seen.sounds) + 25
        await seen.until(lambda: len(seen.sounds) >= end)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_it_shows_and_sounds_what_viewers_get_at_the_same_times(
    show: OpenShow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    monkeypatch.setattr(timeline, "_KEPT", 10_000)  # of all stalls of this machine
    async with show(video=replace(SETTINGS, codec=codec)) as stage, stage.receive() as seen:
        async with filming(tmp_path, codec) as camera:
            async with pulling(camera, stage.live):
                await spoken(stage, "one two three")
                line = copy(camera.film._arranger._timeline)  # how it laid them
            made = stage.live.stats().pictures
        begin = line._segments[0].clock / 90_000
        sources = (seen.mouths(), [(at, rms) for at, rms, _ in seen.sounds])
    film = read(camera.path)
    assert FORMATS[codec] in film.format
    assert film.codecs == [codec, "opus"]
    assert film.pictures[0][0] == film.sounds[0][0] == 0
    assert made - 3 <= len(film.pictures) <= made, "those that were encoded for everybody"
    assert (camera.tap.lost, camera.failures) == (0, [])
    for what, source, filmed, least in (
        ("mouth", sources[0], film.pictures, 20),
        ("sound", sources[1], film.sounds, 40),
    ):
        there = {round(at, 2): value for at, value in filmed}
        laid = [(round(line._film(round(at * 90_000)) / 90_000, 2), value) for at, value in source if at >= begin]
        common = [(at, value) for at, value in laid if at < filmed[-1][0]]
        assert len(common) >= least
        for at, value in common:
            assert there[at] == pytest.approx(value, abs=0.06), (what, at)
        assert max(value for _, value in common) > 0.3, what


async def test_a_stall_is_cut_out_and_what_is_said_in_it_is_not(show: OpenShow, tmp_path: Path) -> None:
    async with show() as stage, filming(tmp_path) as camera, pulling(camera, stage.live):
        async with stage.receive(decode=False) as seen:
            await seen.until(lambda: len(seen.pictures) >= 12)
            name = stage.live.say("one two three four five six")
            await stage.event(SpeechStarted, name)
            time.sleep(1.0)  # noqa: ASYNC251 - the stall: the whole loop stands still
            await stage.event(SpeechEnded, name)
        await spoken(stage, "")
        assert stage.live.stats().stalls
    film = read(camera.path)
    assert max(b - a for (a, _), (b, _) in zip(film.pictures, film.pictures[1:], strict=False)) < 0.3
    assert len(film.loud) >= 6 * 8, "each word is voiced for 160 ms, and none is quieter than at its source"
    assert film.loud[-1] - film.loud[0] < 6 * 0.24 + 0.4
    assert abs(film.pictures[-1][0] - film.sounds[-1][0]) < 0.3


async def test_a_session_that_slept_goes_on_where_it_stopped(show: OpenShow, tmp_path: Path) -> None:
    moments: list[float] = []
    async with filming(tmp_path) as camera:
        for word in ("one", "two"):
            if moments:
                await asyncio.sleep(1.0)  # it sleeps
            async with show() as stage:
                moments.append(time.monotonic())
                run = asyncio.create_task(camera.tap.run(stage.live))
                await spoken(stage, word)
                moments.append(time.monotonic())
            await asyncio.wait_for(run, 30)  # it ended with the session
    begun, asleep, woken, over = moments
    film = read(camera.path)
    assert film.seconds > 2
    gaps = [b - a for (a, _), (b, _) in zip(film.pictures, film.pictures[1:], strict=False)]
    assert max(gaps) < 0.5, "what lies between the two is left out"
    awake = asleep - begun + over - woken
    assert 1 < film.loud[-1] - film.loud[0] < awake < over - begun - 1


class SlowFilm(FilmFile):
    """Its disk stands still while `gate` is cleared."""

    gate = threading.Event()

    def packet(self, packet, *, sound):  # type: ignore[no-untyped-def]
        self.gate.wait(20)
        super().packet(packet, sound=sound)


async def test_a_disk_that_stands_still_costs_pictures_and_nothing_else(
    show: OpenShow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "QUEUE", 40)
    path = tmp_path / "film.mp4"
    path.touch()
    film = SlowFilm(path, "h264")
    film.gate.set()
    writer = Writer(film, "film", lambda error: None)
    tap = Tap(writer)
    async with show() as stage, stage.receive(decode=False) as seen:
        task = asyncio.create_task(tap.run(stage.live))
        await seen.until(lambda: len(seen.pictures) >= 15)
        keys = sum(seen.keys)
        film.gate.clear()
        await seen.until(lambda: tap.lost > 0)
        assert stage.live.stats().overflows == 0
        film.gate.set()
        await seen.until(lambda: sum(seen.keys) > keys, 20)
        count = len(seen.pictures) + 15
        await seen.until(lambda: len(seen.pictures) >= count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await writer.close(30)
    made = read(path)
    assert tap.lost == 1
    assert abs(made.pictures[-1][0] - made.sounds[-1][0]) < 0.3


async def test_a_disk_that_fails_is_told_once(show: OpenShow, tmp_path: Path) -> None:
    failures: list[Exception] = []
    writer = Writer(FilmFile(tmp_path / "missing" / "film.mp4", "h264"), "film", failures.append)
    tap = Tap(writer)
    async with show() as stage, stage.receive(decode=False) as seen:
        task = asyncio.create_task(tap.run(stage.live))
        await seen.until(lambda: bool(failures))
        count = len(seen.pictures) + 10
        await seen.until(lambda: len(seen.pictures) >= count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await writer.close(30)
    assert len(failures) == 1
    assert isinstance(failures[0], FileNotFoundError)
