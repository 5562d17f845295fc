"""An avatar prepared for MuseTalk: latents, face boxes and soft masks of each frame, and how they lie on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.installation import Version

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Box = tuple[int, int, int, int]

FORMAT = 1
FOLDER, FILE = "musetalk", "prepared.npz"
NO_BOX: Box = (0, 0, 0, 0)
LATENT = (8, 32, 32)

Parsing = Literal["bisenet", "landmarks", "imported"]


class NotPrepared(Exception):
    """The avatar has no data that can be used here: none, damaged, of an older format or of other settings."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What rendering needs of an avatar of n frames. All arrays are read-only and aligned with the avatar's frames.

    version: of the model that the data are for. key: of the settings they were made with. parsing: where the masks
    come from.
    latents: (n, 8, 32, 32) float32, the masked face's four channels, then the whole face's; zero where not usable.
    boxes: (n, 4) int32, x0 y0 x1 y1 of the face inside the frame; zero where there is none.
    patches: (n, 4) int32, x y w h, see `patch`. masks: flat uint8, every patch's mask one after the other; offsets:
    (n + 1) int64 into it.
    """

    version: Version
    key: str
    parsing: Parsing
    latents: F32
    boxes: I32
    patches: I32
    masks: U8
    offsets: I64

    @property
    def count(self) -> int:
        return int(self.boxes.shape[0])

    def usable(self, n: int) -> bool:
        """Whether frame n can be given a mouth; if not, it is shown as it is."""
        return bool(self.patches[n, 2])

    def box(self, n: int) -> Box:
        """x0, y0, x1, y1 of frame n's face."""
        x0, y0, x1, y1 = self.boxes[n].tolist()
        return x0, y0, x1, y1

    def patch(self, n: int) -> Box:
        """x, y, w, h: the smallest rectangle of even numbers with every pixel that a new mouth can change.

        It lies inside the frame, but may stick out of the face box by a pixel. All zero where not usable.
        """
        x, y, w, h = self.patches[n].tolist()
        return x, y, w, h

    def patch_mask(self, n: int) -> U8:
        """The soft mask on `patch(n)`: (h, w) uint8, a read-only view."""
        width, height = int(self.patches[n, 2]), int(self.patches[n, 3])
        return self.masks[self.offsets[n] : self.offsets[n + 1]].reshape(height, width)

    def mask(self, n: int) -> U8:
        """The soft mask on the face box: (y1 - y0, x1 - x0) uint8, freshly made. Outside of it nothing changes."""
        x0, y0, x1, y1 = self.box(n)
        whole = np.zeros((y1 - y0, x1 - x0), np.uint8)
        if self.usable(n):
            x, y, w, h = self.patch(n)
            left, top, right, bottom = max(x, x0), max(y, y0), min(x + w, x1), min(y + h, y1)
            part = self.patch_mask(n)[top - y : bottom - y, left - x : right - x]
            whole[top - y0 : bottom - y0, left - x0 : right - x0] = part
        return whole


def build(
    version: Version, key: str, parsing: Parsing, latents: F32, faces: Iterable[tuple[Box, U8] | None]
) -> Prepared:
    """From latents (n, 8, 32, 32) and, for each frame, its face box and the soft mask on it; None: no usable face.

    Boxes lie inside a frame of even size. Raises ValueError where shapes do not fit together.
    """
    boxes: list[Box] = []
    patches: list[Box] = []
    masks: list[U8] = []
    for face in faces:
        box, patch, packed = NO_BOX, NO_BOX, np.zeros(0, np.uint8)
        if face is not None:
            box, soft = face
            if soft.shape != (box[3] - box[1], box[2] - box[0]) or min(box) < 0:
                raise ValueError(f"a mask of {soft.shape} does not fit the face box {box}")
            patch, packed = _pack(box, soft)
        boxes.append(box)
        patches.append(patch)
        masks.append(packed)
    if latents.shape != (len(boxes), *LATENT):
        raise ValueError(f"latents of {latents.shape} do not fit {len(boxes)} frames")
    prepared = Prepared(
        version=version,
        key=key,
        parsing=parsing,
        latents=np.ascontiguousarray(latents, np.float32),
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        patches=np.array(patches, np.int32).reshape(-1, 4),
        masks=np.concatenate(masks) if masks else np.zeros(0, np.uint8),
        offsets=np.concatenate([[0], np.cumsum([mask.size for mask in masks], dtype=np.int64)]).astype(np.int64),
    )
    return _frozen(prepared)


def save(prepared: Prepared, folder: Path) -> None:
    """Write the data into `folder`, whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"format": FORMAT, "version": prepared.version, "key": prepared.key, "parsing": prepared.parsing}
    part = folder / f"{FILE}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            np.savez(
                file,
                meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
                latents=prepared.latents,
                boxes=prepared.boxes,
                patches=prepared.patches,
                masks=prepared.masks,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / FILE)
    finally:
        part.unlink(missing_ok=True)


def load(folder: Path, key: str | None = None, count: int | None = None) -> Prepared:
    """What `save` wrote into `folder`. Raises NotPrepared.

    key: of the settings that are asked for, count: frames of the avatar; data of others do not count.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(bytes(data["meta"]))
            if not isinstance(meta, dict) or meta.get("format") != FORMAT:
                raise NotPrepared(f"{path}: of another format")
            if key is not None and meta.get("key") != key:
                raise NotPrepared(f"{path}: made with other settings")
            arrays = {name: data[name] for name in ("latents", "boxes", "patches", "masks")}
        prepared = _checked(path, meta, arrays)
    except NotPrepared:
        raise
    except FileNotFoundError:
        raise NotPrepared(f"{path}: missing") from None
    except Exception as error:  # what NumPy and zipfile raise for a damaged file has no common kind
        raise NotPrepared(f"{path}: damaged ({type(error).__name__}: {error})") from error
    if count is not None and prepared.count != count:
        raise NotPrepared(f"{path}: holds {prepared.count} frames, not {count}")
    return prepared


def _checked(path: Path, meta: dict[str, Any], arrays: dict[str, Any]) -> Prepared:
    latents, boxes, patches, masks = (arrays[name] for name in ("latents", "boxes", "patches", "masks"))
    kinds = (latents.dtype, boxes.dtype, patches.dtype, masks.dtype)
    good = kinds == (np.float32, np.int32, np.int32, np.uint8) and boxes.ndim == 2
    good = good and boxes.shape == patches.shape == (len(boxes), 4) and latents.shape == (len(boxes), *LATENT)
    good = good and bool((patches >= 0).all()) and meta.get("version") in ("1.5", "1.0")
    if good:
        sizes = patches[:, 2].astype(np.int64) * patches[:, 3]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        good = masks.shape == (offsets[-1],)
    if not good:
        raise NotPrepared(f"{path}: damaged (its parts do not fit together)")
    parsing = meta.get("parsing", "landmarks")
    return _frozen(Prepared(meta["version"], str(meta.get("key")), parsing, latents, boxes, patches, masks, offsets))


def _frozen(prepared: Prepared) -> Prepared:
    for array in (prepared.latents, prepared.boxes, prepared.patches, prepared.masks, prepared.offsets):
        array.flags.writeable = False
    return prepared


def _pack(box: Box, soft: U8) -> tuple[Box, U8]:
    """The even rectangle around what is not zero, and the mask on it, flat."""
    rows, columns = np.flatnonzero(soft.any(axis=1)), np.flatnonzero(soft.any(axis=0))
    if not rows.size:
        return NO_BOX, np.zeros(0, np.uint8)
    x0, y0, _, _ = box
    left, top = (x0 + int(columns[0])) & ~1, (y0 + int(rows[0])) & ~1
    right, bottom = (x0 + int(columns[-1]) + 2) & ~1, (y0 + int(rows[-1]) + 2) & ~1
    out = np.zeros((bottom - top, right - left), np.uint8)
    tight = soft[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    oy, ox = y0 + int(rows[0]) - top, x0 + int(columns[0]) - left
    out[oy : oy + tight.shape[0], ox : ox + tight.shape[1]] = tight
    return (left, top, right - left, bottom - top), out.ravel()
