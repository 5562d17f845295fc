"""Figures on the wire: from `say` to the first voiced packet and its mouth, from `interrupt` to silence."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import numpy as np

from avatars.store import AvatarStore
from bench.figures import Figure, spread
from bench.serving import Server
from bench.speech import LONG, SHORT
from bench.wire import VOICED, Picture, Wire, connected

RUNS = 12


async def measure(server: Server, avatars: Path, avatar_id: str) -> list[Figure]:
    """`say` and `interrupt` RUNS times each, on one session with one viewer that notes every packet."""
    crop, rest = mouth_at_rest(avatars, avatar_id)
    session = server.session(avatar_id)
    async with connected(session, decode=True) as wire:
        wire.crop = crop
        await asyncio.sleep(2)
        sound_after, mouth_lag = [], []
        for run in range(RUNS):
            idle_level = max(strangeness(picture, rest) for picture in wire.pictures[-10:])
            start = time.monotonic()
            await asyncio.to_thread(server.say, session, SHORT[run % len(SHORT)])
            first = await wire.voiced_after(start, 5)
            if first is None:
                raise RuntimeError("nothing was heard within 5 s after `say`")
            sound_after.append((first.at - start) * 1000)
            await asyncio.sleep(1.5)
            mouth = _first_mouth(wire, start, rest, idle_level)
            mouth_lag.append((mouth - first.at) * 1000)
            await asyncio.to_thread(server.call, "POST", f"/v1/sessions/{session.id}/interrupt")
            await asyncio.sleep(0.8 + 0.037 * run)
        silence_after = []
        for run in range(RUNS):
            start = time.monotonic()
            await asyncio.to_thread(server.say, session, LONG)
            if await wire.voiced_after(start, 5) is None:
                raise RuntimeError("nothing was heard within 5 s after `say`")
            await asyncio.sleep(1.0 + 0.083 * run)
            asked = time.monotonic()
            await asyncio.to_thread(server.call, "POST", f"/v1/sessions/{session.id}/interrupt")
            await asyncio.sleep(0.8)
            voiced = [sound.at for sound in wire.sounds if sound.at > asked and sound.loudness > VOICED]
            silence_after.append((max(voiced, default=asked) - asked) * 1000)
    server.call("DELETE", f"/v1/sessions/{session.id}")
    say, quiet, lag = (statistics.median(values) for values in (sound_after, silence_after, mouth_lag))
    worst = max(silence_after)
    return [
        Figure("`say` → first voiced packet", "≤ 300 ms median", f"{say:.0f} ms", say <= 300, spread(sound_after)),
        Figure("first mouth after it", "with it (±80 ms)", f"{lag:+.0f} ms", abs(lag) <= 80, spread(mouth_lag)),
        Figure("interrupt → silence on wire", "≤ 150 ms", f"{worst:.0f} ms worst", worst <= 150, f"median {quiet:.0f}"),
    ]


def mouth_at_rest(avatars: Path, avatar_id: str) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """The region of the mouth (x0 y0 x1 y1), and every fourth pixel of it in each frame of the clip itself."""
    avatar = AvatarStore(avatars, cache_bytes=1 << 40).open(avatar_id)
    x0, y0 = avatar.faces.mouth[:, :2].min(0)
    x1, y1 = avatar.faces.mouth[:, 2:].max(0)
    luma = avatar.frames[:, : avatar.width * avatar.height].reshape(-1, avatar.height, avatar.width)
    rest = np.ascontiguousarray(luma[:, y0:y1:4, x0:x1:4]).astype(np.int16)
    return (int(x0), int(y0), int(x1), int(y1)), rest


def strange(level: float, idle_level: float) -> bool:
    """Whether a mouth of that strangeness moves by itself, where the clip's own is at `idle_level`."""
    return level > idle_level * 1.25 + 0.15


def strangeness(picture: Picture, rest: np.ndarray) -> float:
    """How far a picture's mouth region is from the nearest frame of the clip itself (mean absolute luma difference)."""
    seen = picture.luma[::4, ::4].astype(np.int16)
    return float(np.abs(rest - seen).mean((1, 2)).min())


def _first_mouth(wire: Wire, start: float, rest: np.ndarray, idle_level: float) -> float:
    for picture in wire.pictures:
        if picture.at >= start and strange(strangeness(picture, rest), idle_level):
            return picture.at
    raise RuntimeError("the mouth did not move within 1.5 s after the first sound")
