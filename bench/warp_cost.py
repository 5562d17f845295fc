"""CPU time of one `warp` frame, stage by stage, on one thread.

python -m bench.warp_cost AVATAR_DIR [FRAMES]
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import Avatar, pingpong
from avatars.store import open_folder, read_record
from bench.figures import Figure, table
from pipeline.lipsync.warp.engine import WarpEngine
from pipeline.lipsync.warp.face import Renderer
from pipeline.lipsync.warp.picture import lay
from pipeline.media import MouthShape

MUST = 4.0
FRAMES = 500
_WARM_UP = 20


def open_avatar(folder: Path) -> Avatar:
    """The avatar in a folder; raises SystemExit with what is wrong."""
    record = read_record(folder.resolve())
    if record is None:
        raise SystemExit(f"{folder} holds no avatar")
    return open_folder(folder.resolve(), record)


def mouth_at(k: int) -> MouthShape:
    """Frame k of something like speech: four syllables a second, changing vowels."""
    t = k / 25
    opening = max(0.0, 0.32 + 0.32 * math.sin(2 * math.pi * 4 * t) + 0.1 * math.sin(2 * math.pi * 0.7 * t))
    vowel = math.sin(2 * math.pi * 1.3 * t)
    return MouthShape(opening, 0.6 * vowel, max(0.0, -0.8 * vowel), 0.3, 1.0 if opening < 0.02 else 0.0)


def measure(avatar: Avatar, renderer: Renderer, count: int) -> dict[str, float]:
    """Milliseconds of CPU a frame for each stage, over `count` frames of the moving avatar."""
    out = np.empty_like(avatar.frames[0])
    spent = dict.fromkeys(("plan", "field", "remap and inside", "composite"), 0.0)
    for k in range(_WARM_UP + count):
        frame, mouth = pingpong(k, avatar.count), mouth_at(k)
        avatar.frames[frame].sum()  # the page is in memory, as it is once a clip has played
        laps = [time.thread_time()]
        plan = renderer.plan(frame, mouth, 1.0)
        if plan is None:
            continue
        laps.append(time.thread_time())
        maps = renderer.maps(plan)
        laps.append(time.thread_time())
        patch = renderer.draw(frame, plan, maps)
        laps.append(time.thread_time())
        np.copyto(out, avatar.frames[frame])
        lay(patch, out, avatar.width, avatar.height)
        laps.append(time.thread_time())
        if k >= _WARM_UP:
            for stage, lap in zip(spent, np.diff(laps), strict=True):
                spent[stage] += float(lap)
    return {stage: 1e3 * seconds / count for stage, seconds in spent.items()}


def figures(folder: Path, count: int = FRAMES) -> list[Figure]:
    """The rows of `make bench`."""
    cv2.setNumThreads(1)
    avatar = open_avatar(folder)
    engine = WarpEngine(threads=1)
    try:
        face = engine.open(avatar)
        stages = measure(avatar, face.renderer, count)
    finally:
        engine.close()
    total = sum(stages.values())
    note = ", ".join(f"{stage} {value:.2f}" for stage, value in stages.items())
    return [Figure("warp + composite, CPU a frame", f"≤ {MUST:.0f} ms", f"{total:.2f} ms", total <= MUST, note)]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    print(table(figures(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else FRAMES)))
