"""A session's present picture as a small JPEG: made on demand in a thread, at most once a second a session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from avatars.avatar import U8
from pipeline.session import LiveSession, Shown
from server.problems import ProblemError
from server.sessions import Session

WIDTH = 320
QUALITY = 70
FRESH_SECONDS = 1.0
"""A picture is given again for so long before a new one is made."""

AT_A_TIME = 1
MOST = 64
"""Pictures that are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class _Made:
    at: float
    jpeg: bytes


def shown_by(session: Session) -> Shown | None:
    """What a session shows at this moment; None: it has no picture, since it sleeps, waits, or nobody watches."""
    return session.live.shown() if session.live is not None and session.live.running else None


class Thumbnails:
    """Pictures of all sessions. One at a time is made: however many operators look, sessions do not feel it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: dict[str, _Made] = {}
        self._turn = asyncio.Semaphore(AT_A_TIME)

    async def of(self, session: Session) -> bytes:
        """JPEG. 404 no_picture while the session has none: it sleeps, or waits."""
        async with self._turn:
            known = self._made.get(session.id)
            if known is not None and self._clock() - known.at < FRESH_SECONDS:
                return known.jpeg
            live, shown = session.live, shown_by(session)
            if live is None or shown is None:
                raise ProblemError(404, "no_picture", "This session shows no picture now: nobody watches it.")
            jpeg = await asyncio.to_thread(draw, live, shown)
            self._made.pop(session.id, None)
            self._made[session.id] = _Made(self._clock(), jpeg)
            while len(self._made) > MOST:
                del self._made[next(iter(self._made))]
            return jpeg


def draw(live: LiveSession, shown: Shown) -> bytes:
    """The avatar's frame with its mouth, WIDTH wide at most. Blocking, 2-4 ms. Raises OSError."""
    avatar, patch = live.avatar, shown.patch
    width, height = avatar.width, avatar.height
    luma = np.empty((height, width), np.uint8)
    u, v = (np.empty((height // 2, width // 2), np.uint8) for _ in range(2))
    avatar.copy(shown.frame, (luma, u, v))
    if patch is not None:
        _lay(luma, patch.luma, patch.x, patch.y)
        _lay(u, patch.u, patch.x // 2, patch.y // 2)
        _lay(v, patch.v, patch.x // 2, patch.y // 2)
    scale = min(1.0, WIDTH / width)
    small = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    half = (small[0] // 2, small[1] // 2)
    planes = [cv2.resize(luma, small, interpolation=cv2.INTER_AREA)]
    planes += [cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in (u, v)]
    i420 = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, small[0])
    picture = cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420)
    made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not made:
        raise OSError("the picture cannot be encoded")
    return bytes(data)


def _lay(plane: U8, patch: U8, x: int, y: int) -> None:
    height, width = patch.shape
    plane[y : y + height, x : x + width] = patch
