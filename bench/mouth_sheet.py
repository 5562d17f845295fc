"""A contact sheet of what the `warp` engine makes of an avatar, to be looked at.

python -m bench.mouth_sheet AVATAR_DIR OUT.png [--frame N …] [--zoom]    (--zoom: the mouth alone, enlarged)

Rows: frames of the clip (by default three: the most closed, one in the middle, the most open); columns: the frame as it
is, and mouth shapes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from avatars.avatar import U8, Avatar
from bench.warp_cost import open_avatar
from pipeline.lipsync.warp.engine import WarpEngine
from pipeline.lipsync.warp.face import Renderer
from pipeline.lipsync.warp.picture import picture
from pipeline.media import MouthShape

SHAPES: dict[str, MouthShape | None] = {
    "source": None,
    "closed": MouthShape(),
    "open .2": MouthShape(0.2),
    "open .4": MouthShape(0.4, teeth=0.2),
    "open .7": MouthShape(0.7, teeth=0.1),
    "open 1": MouthShape(1.0),
    "oo": MouthShape(0.25, -0.65, 0.9),
    "ee": MouthShape(0.4, 0.6, 0.0, 0.5),
    "s": MouthShape(0.3, 0.25, 0.0, 1.0),
    "m": MouthShape(closure=1.0),
}


def crop(avatar: Avatar, renderer: Renderer, frame: int, image: U8, half: float, size: int) -> U8:
    """A square around the mouth, `half` E to each side, `size` pixels wide."""
    scale = float(renderer.rig.pose.scale[frame])
    mesh = avatar.faces.landmarks[frame]
    x, y = (mesh[13, :2] + mesh[14, :2]) / 2 + (0, 0.1 * scale)
    zoom = size / (2 * half * scale)
    place = np.array([[zoom, 0, size / 2 - x * zoom], [0, zoom, size / 2 - y * zoom]])
    return np.asarray(cv2.warpAffine(image, place, (size, size), flags=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA))


def sheet(avatar: Avatar, renderer: Renderer, frames: list[int], half: float, size: int) -> U8:
    """All shapes on all the frames, BGR."""
    rows = []
    for frame in frames:
        row = []
        for name, shape in SHAPES.items():
            patch = None if shape is None else renderer.render(frame, shape, 1.0)
            tile = crop(avatar, renderer, frame, picture(avatar, frame, patch), half, size)
            label = f"{name} {frame}" if shape is None else name
            cv2.putText(tile, label, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
            row.append(tile)
        rows.append(np.hstack(row))
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", type=int, nargs="*")
    parser.add_argument("--zoom", action="store_true")
    options = parser.parse_args()
    avatar = open_avatar(options.avatar)
    engine = WarpEngine()
    try:
        renderer = engine.open(avatar).renderer
        gap = renderer.rig.gap
        frames = options.frame or sorted({int(gap.argmin()), avatar.count // 2, int(gap.argmax())})
        half, size = (0.42, 300) if options.zoom else (0.85, 230)
        if not cv2.imwrite(str(options.out), sheet(avatar, renderer, frames, half, size)):
            raise SystemExit(f"cannot write {options.out}")
    finally:
        engine.close()


if __name__ == "__main__":
    main()
