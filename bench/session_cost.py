"""`python -m bench.session_cost [--avatar FOLDER]`: what live sessions cost in this process, without WebRTC.

A painted mouth stands for the engine and a tone for the voice, so this is the pipeline's own share; one viewer a
session reads its packets and drops them. Without a folder of an avatar the base is a drawn 720p picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from pathlib import Path

from avatars.avatar import Avatar
from pipeline.media import VideoSettings
from pipeline.session import LiveSession, ViewerClosed
from pipeline.stats import SessionStats
from tests.pipeline.fakes import FakeFace, FakeSpeaker, make_avatar

SECONDS = 8.0
STAGES = ("draw_ms", "encode_ms", "sound_encode_ms", "analyse_ms", "mouth_ms", "release_late_ms")


async def measure(avatar: Avatar, sessions: int, speaking: bool, codec: str) -> tuple[float, float, list[SessionStats]]:
    """CPU seconds a second of the whole process, pictures a second of a session, and each session's figures."""
    face = FakeFace(avatar)
    lives = [
        LiveSession(str(n), avatar, face, FakeSpeaker(), VideoSettings(codec=codec), lambda event: None)
        for n in range(sessions)
    ]
    drains: list[asyncio.Task[None]] = []
    try:
        for live in lives:
            await live.start()
            viewer = live.join()
            drains += [asyncio.create_task(_drain(viewer.video)), asyncio.create_task(_drain(viewer.audio))]
            if speaking:
                live.say("word " * 200)
            await asyncio.sleep(0.023)
        await asyncio.sleep(1.0)
        pictures = sum(live.stats().pictures for live in lives)
        cpu, wall = time.process_time(), time.monotonic()
        await asyncio.sleep(SECONDS)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        stats = [live.stats() for live in lives]
        fps = (sum(one.pictures for one in stats) - pictures) / wall / sessions
    finally:
        for live in lives:
            await live.close()
        await asyncio.gather(*drains)
        face.close()
    return cpu / wall, fps, stats


async def _drain(read: object) -> None:
    with contextlib.suppress(ViewerClosed):
        while True:
            await read()  # type: ignore[operator]


def open_avatar(folder: Path | None) -> Avatar:
    if folder is None:
        return make_avatar(1280, 720, 50)
    from avatars.store import AvatarStore

    return AvatarStore(folder.parent, cache_bytes=1 << 40).open(folder.name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.session_cost")
    parser.add_argument("--avatar", type=Path, help="folder of a ready avatar")
    avatar = open_avatar(parser.parse_args().avatar)
    print(f"{avatar.width}x{avatar.height}, {SECONDS:.0f} s each\n")
    names = [stage.removesuffix("_ms") for stage in STAGES]
    print("| sessions | cores | fps | kbit/s | late mouths | " + " | ".join(f"{name} ms" for name in names) + " |")
    print("|---" * (5 + len(STAGES)) + "|")
    cases = [(1, False, "h264"), (1, True, "h264"), (4, True, "h264"), (1, True, "vp8")]
    for sessions, speaking, codec in cases:
        cores, fps, stats = asyncio.run(measure(avatar, sessions, speaking, codec))
        title = f"{sessions} {'speaking' if speaking else 'idle'}, {codec}"
        rate = sum(one.sent_bitrate for one in stats) / sessions / 1000
        late = sum(one.mouths_late for one in stats)
        stages = [_mean([getattr(one, stage) for one in stats]) for stage in STAGES]
        print(f"| {title} | {cores:.3f} | {fps:.1f} | {rate:.0f} | {late} | " + " | ".join(stages) + " |", flush=True)


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else "–"


if __name__ == "__main__":
    main()
