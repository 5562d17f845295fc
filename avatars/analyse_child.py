"""The child that looks at the master: `python -m avatars.analyse_child JOB` makes frames.i420, faces.npz, preview.jpg.

JOB (JSON): folder (with frames.mp4), width, height, frames, still, source (SourceFacts), max_seconds, models (folder).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avatars import master, quality, tracking
from avatars.child import Meter, run
from avatars.errors import AvatarError
from avatars.landmarks import FaceTracker
from avatars.models import find
from avatars.record import SourceFacts

FACES, PREVIEW = "faces.npz", "preview.jpg"
_EVERY = 10  # frames between two looks at light and sharpness
_PREVIEW_SIDE = 640


def main(job: dict[str, Any]) -> dict[str, Any]:
    folder = Path(job["folder"])
    width, height, count = job["width"], job["height"], job["frames"]
    master.make_cache(folder, width, height, count)
    frames = master.map_cache(folder, width, height, count).reshape(count, height * 3 // 2, width)
    follower = tracking.Follower(FaceTracker(find(Path(job["models"]))), count)
    meter = Meter()
    for n, frame in enumerate(frames):
        follower.feed(tracking.to_bgr(frame))
        meter((n + 1) / count)
    track = follower.track()
    if tracking.upside_down(track):
        raise AvatarError("not_upright")
    try:
        landmarks, bridged = tracking.bridge(track.landmarks)
    except AvatarError as error:
        if error.code == "no_face" and quality.darkness(frames[count // 2][:height]):
            raise AvatarError("too_dark") from error
        raise
    if tracking.several(track):
        raise AvatarError("several_faces")
    landmarks = tracking.smooth(landmarks)
    faces = tracking.faces(landmarks, width, height)
    looks = [quality.look(frames[n][:height], landmarks[n]) for n in range(0, count, _EVERY)]
    report = quality.report(
        landmarks,
        looks,
        SourceFacts.model_validate(job["source"]),
        width=width,
        height=height,
        bridged=bridged,
        rivals=track.rivals,
        still=job["still"],
        max_seconds=job["max_seconds"],
    )
    with (folder / FACES).open("wb") as file:
        np.savez_compressed(file, landmarks=faces.landmarks, box=faces.box, mouth=faces.mouth)
        file.flush()
        os.fsync(file.fileno())
    _preview(frames[0], folder / PREVIEW)
    return {"quality": report.model_dump()}


def _preview(frame: Any, path: Path) -> None:
    picture = tracking.to_bgr(frame)
    scale = min(1.0, _PREVIEW_SIDE / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not good:
        raise AvatarError("internal")
    path.write_bytes(data.tobytes())


if __name__ == "__main__":
    run(main)
