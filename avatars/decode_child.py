"""The child that touches the upload: `python -m avatars.decode_child JOB` checks it, or makes the master from it.

JOB (JSON): task "probe" or "decode", source, bounds, and for "decode": output, apply_blur, models (folder).
Runs under avatars.sandbox. Answers on standard output, see avatars.child.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avatars.avatar import FPS, U8
from avatars.child import Meter, run
from avatars.errors import AvatarError
from avatars.models import find
from avatars.normalise import Bounds, Source
from avatars.record import SourceFacts
from avatars.sniff import Kind, picture_size, sniff


def main(job: dict[str, Any]) -> dict[str, Any]:
    source, bounds = Path(job["source"]), Bounds(**job["bounds"])
    kind = sniff(source)
    if job["task"] == "probe":
        return {"source": _probe(source, kind, bounds).model_dump(), "still": kind.demuxer is None}
    return _decode(job, source, kind, bounds)


def _probe(source: Path, kind: Kind, bounds: Bounds) -> SourceFacts:
    """A quick look: the header and one picture. Raises AvatarError."""
    if kind.demuxer is None:
        from avatars.stills import load

        load(source, kind, bounds)
        width, height = picture_size(source, kind)
        size = source.stat().st_size
        return SourceFacts(container=kind.name, codec=kind.name, width=width, height=height, bytes=size)
    with Source(source, kind, bounds) as opened:
        if opened.duration and opened.duration < bounds.min_seconds - 0.5 / FPS:
            raise AvatarError("too_short")
        return opened.facts(opened.first())


def _decode(job: dict[str, Any], source: Path, kind: Kind, bounds: Bounds) -> dict[str, Any]:
    from avatars.matte import Matting

    models = find(Path(job["models"]))
    matting = Matting(models.segmentation) if models.segmentation else None
    if job["apply_blur"] and matting is None:
        raise AvatarError("no_segmentation")
    meter = Meter()
    if kind.demuxer is None:
        from avatars.landmarks import FaceTracker
        from avatars.stills import animate, load

        frames = animate(load(source, kind, bounds), FaceTracker(models), matting)
        return _write(frames, job, matting, meter)
    with Source(source, kind, bounds) as opened:
        return _write(opened.frames(), job, matting, meter)


def _write(frames: Iterator[tuple[float, U8]], job: dict[str, Any], matting: Any, meter: Meter) -> dict[str, Any]:
    from avatars.master import MasterWriter
    from avatars.matte import blur_background

    if job["apply_blur"]:
        frames = blur_background(frames, matting)
    progress, first = next(frames)
    height, width = first.shape[0] * 2 // 3, first.shape[1]
    with MasterWriter(Path(job["output"]), width, height) as writer:
        writer.write(first)
        for progress, frame in frames:
            writer.write(frame)
            meter(progress)
    return {"width": width, "height": height, "frames": writer.count}


if __name__ == "__main__":
    run(main)
