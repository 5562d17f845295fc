"""Thumbnails: the avatar's frame with the mouth of the moment, small, and not drawn more often than need be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.media import MouthPatch
from pipeline.session import Shown
from server.admin import pictures
from server.admin.pictures import FRESH_SECONDS, MOST, Thumbnails, draw
from tests.pipeline.fakes import make_avatar

LOUD = 235


def patch(x: int, y: int, width: int, height: int) -> MouthPatch:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return MouthPatch(x, y, np.full((height, width), LOUD, np.uint8), chroma, chroma)


def picture(live: Any, shown: Shown) -> Any:
    found = cv2.imdecode(np.frombuffer(draw(live, shown), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return found


@pytest.mark.parametrize("size", [(640, 360), (320, 180), (360, 638), (1280, 722)])
def test_the_mouth_is_where_it_belongs(size: tuple[int, int]) -> None:
    width, height = size
    live = SimpleNamespace(avatar=make_avatar(width, height, 4))
    box = (width // 4 // 2 * 2, height // 2 // 2 * 2, width // 2 // 2 * 2, height // 4 // 2 * 2)
    plain, spoken = picture(live, Shown(2, None)), picture(live, Shown(2, patch(*box)))
    scale = plain.shape[1] / width
    assert plain.shape[1] <= 320
    assert plain.shape[0] / plain.shape[1] == pytest.approx(height / width, rel=0.02)
    middle = (round((box[1] + box[3] / 2) * scale), round((box[0] + box[2] / 2) * scale))
    assert spoken[middle] > 220
    assert plain[middle] < 120
    corner = (2, 2)
    assert abs(int(spoken[corner]) - int(plain[corner])) < 6


async def test_one_is_drawn_at_a_time_and_kept_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    drawn: list[int] = []
    at_once = [0, 0]

    def slow(live: Any, shown: Shown) -> bytes:
        at_once[0] += 1
        at_once[1] = max(at_once)
        drawn.append(shown.frame)
        at_once[0] -= 1
        return b"%d" % shown.frame

    monkeypatch.setattr(pictures, "draw", slow)
    thumbnails = Thumbnails(clock=lambda: now[0])
    frames = iter(range(10_000))

    def session(name: str) -> Any:
        return SimpleNamespace(id=name, live=SimpleNamespace(running=True, shown=lambda: Shown(next(frames), None)))

    ada = session("ada")
    many = await asyncio.gather(*(thumbnails.of(ada) for _ in range(20)))
    assert set(many) == {b"0"}
    assert drawn == [0]
    now[0] += FRESH_SECONDS
    assert await thumbnails.of(ada) == b"1"
    await asyncio.gather(*(thumbnails.of(session(str(number))) for number in range(MOST + 5)))
    assert at_once[1] == 1
    assert len(thumbnails._made) == MOST, "pictures of sessions that have gone do not pile up"
