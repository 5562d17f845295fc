"""An avatar made by the reference's scripts: its pictures, boxes, masks and latents, checked and cut to one pass."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avatars.avatar import FPS, Avatar
from pipeline.lipsync.musetalk import prepared, unpickle
from pipeline.lipsync.musetalk.boxes import SMALLEST
from pipeline.lipsync.musetalk.installation import Version
from pipeline.lipsync.musetalk.prepared import Box, Prepared

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

MAX_SIDE = 4096
_INFO = ("avator_info.json", "avatar_info.json")  # the reference writes the first


class ImportRefused(Exception):
    """The folder cannot be imported; str() names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ReferenceAvatar:
    """One pass of its n frames, in order.

    pictures, masks: files of each frame; a mask lies on its crop box. boxes, crops: x0 y0 x1 y1 in pixels of the
    pictures, width x height; a box of None: no face there. latents: (n, 8, 32, 32) float32, zero where no face is.
    doubled: the folder held the frames backward too. version, bbox_shift: as far as the folder tells.
    """

    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]
    boxes: tuple[Box | None, ...]
    crops: tuple[Box, ...]
    latents: F32
    width: int
    height: int
    doubled: bool
    version: Version | None
    bbox_shift: int


def read(folder: Path) -> ReferenceAvatar:
    """Look at a folder with full_imgs/, mask/, coords.pkl, mask_coords.pkl and latents.pt. Raises ImportRefused.

    The frames are played forward, then backward, so only the forward half is kept of a folder that holds both.
    """
    _complete(folder)
    pictures, masks = _numbered(folder / "full_imgs"), _numbered(folder / "mask")
    boxes = [_box(folder / "coords.pkl", n, item) for n, item in enumerate(_pickled(folder / "coords.pkl"))]
    crops = [_box(folder / "mask_coords.pkl", n, item) for n, item in enumerate(_pickled(folder / "mask_coords.pkl"))]
    count = len(pictures)
    for name, found in (("mask/", len(masks)), ("coords.pkl", len(boxes)), ("mask_coords.pkl", len(crops))):
        if found != count:
            raise ImportRefused(f"{folder / name}: is for {found} frames, but full_imgs/ holds {count}")
    sizes = {_size(path) for path in pictures}
    if len(sizes) != 1:
        raise ImportRefused(f"{folder / 'full_imgs'}: the pictures are not all of one size")
    width, height = sizes.pop()
    usable = [_inside(box, width, height) if any(box) else None for box in boxes]
    latents = _latents(folder / "latents.pt", [any(box) for box in boxes])
    doubled = count >= 2 and count % 2 == 0 and all(_same(pictures[n], pictures[-1 - n]) for n in range(count // 2))
    keep = count // 2 if doubled else count
    for n in range(keep):
        left, top, right, bottom = crops[n]
        if usable[n] is not None and _size(masks[n]) != (right - left, bottom - top):
            raise ImportRefused(f"{masks[n]}: is not of the size that mask_coords.pkl says")
    version, shift = _info(folder)
    return ReferenceAvatar(
        tuple(pictures[:keep]),
        tuple(masks[:keep]),
        tuple(usable[:keep]),
        tuple(crops[:keep]),
        latents[:keep],
        width,
        height,
        doubled,
        version,
        shift,
    )


def write_clip(avatar: ReferenceAvatar, path: Path, progress: Callable[[float], None] = lambda _: None) -> None:
    """The pictures as a lossless video (Matroska, H.264 4:4:4 at 25 fps, BT.709). Raises ImportRefused, OSError."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = avatar.width, avatar.height, "yuv444p"
        stream.options = {"preset": "ultrafast", "qp": "0", "g": "25"}
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        for n, picture in enumerate(avatar.pictures):
            frame = av.VideoFrame.from_ndarray(_picture(picture, cv2.IMREAD_COLOR), format="bgr24")
            frame = frame.reformat(format="yuv444p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            progress((n + 1) / len(avatar.pictures))
        container.mux(stream.encode(None))


def prepare(source: ReferenceAvatar, avatar: Avatar, version: Version, key: str) -> Prepared:
    """The folder's own data for an avatar that was built of its clip: scaled to its frames, cut to as many.

    key: of the settings that the data count for. Raises ImportRefused.
    """
    count = avatar.count
    if count > len(source.pictures):
        raise ImportRefused(f"the avatar has {count} frames, the folder only {len(source.pictures)}")
    x, y = avatar.width / source.width, avatar.height / source.height
    faces = [_face(source, n, x, y) for n in range(count)]
    return prepared.build(version, key, "imported", source.latents[:count], faces)


def _face(source: ReferenceAvatar, n: int, x: float, y: float) -> tuple[Box, U8] | None:
    box, (left, top, right, bottom) = source.boxes[n], source.crops[n]
    if box is None:
        return None
    x0, y0, x1, y1 = box
    soft = _picture(source.masks[n], cv2.IMREAD_GRAYSCALE)
    on_box = np.zeros((y1 - y0, x1 - x0), np.uint8)
    ax, ay, bx, by = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
    if ax < bx and ay < by:
        on_box[ay - y0 : by - y0, ax - x0 : bx - x0] = soft[ay - top : by - top, ax - left : bx - left]
    scaled: Box = (round(x0 * x), round(y0 * y), round(x1 * x), round(y1 * y))
    size = (scaled[2] - scaled[0], scaled[3] - scaled[1])
    if min(size) < SMALLEST:
        return None
    if size != (x1 - x0, y1 - y0):
        on_box = np.asarray(cv2.resize(on_box, size, interpolation=cv2.INTER_AREA), np.uint8)
    return scaled, on_box


def _complete(folder: Path) -> None:
    missing = [name for name in ("coords.pkl", "mask_coords.pkl", "latents.pt") if not (folder / name).is_file()]
    missing += [f"{name}/" for name in ("full_imgs", "mask") if not (folder / name).is_dir()]
    if missing:
        raise ImportRefused(f"{folder}: is no avatar of MuseTalk's scripts: {', '.join(missing)} is missing")


def _numbered(folder: Path) -> list[Path]:
    """The PNG pictures of a folder in the order of their numbers."""
    found = {}
    # Where the source was a folder, its own files lie there too, under shorter names: the last of a number counts.
    for path in sorted(folder.glob("*.png"), key=lambda path: len(path.stem)):
        if not path.stem.isascii() or not path.stem.isdigit():
            raise ImportRefused(f"{path}: its name is no number")
        found[int(path.stem)] = path
    if not found:
        raise ImportRefused(f"{folder}: holds no PNG pictures")
    return [found[number] for number in sorted(found)]


def _size(path: Path) -> tuple[int, int]:
    """Width and height that a PNG declares (ISO 15948, 5.2 and 11.2.2), before anything of it is decoded."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise ImportRefused(f"{path}: cannot be read ({error.strerror})") from error
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise ImportRefused(f"{path}: is no PNG picture")
    width, height = struct.unpack(">II", head[16:])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ImportRefused(f"{path}: {width}x{height} is no size of a picture that can be imported")
    return width, height


def _picture(path: Path, how: int) -> U8:
    size = _size(path)
    picture = cv2.imread(str(path), how)
    if picture is None or picture.shape[1::-1] != size:
        raise ImportRefused(f"{path}: cannot be read as a picture")
    return np.asarray(picture, np.uint8)


def _same(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes():
        return True
    return np.array_equal(_picture(one, cv2.IMREAD_COLOR), _picture(other, cv2.IMREAD_COLOR))


def _pickled(path: Path) -> list[Any]:
    try:
        value = unpickle.load(path)
    except (unpickle.PickleRefused, OSError) as error:
        raise ImportRefused(str(error)) from error
    rows = list(value) if isinstance(value, list | tuple | np.ndarray) else []
    if not rows:
        raise ImportRefused(f"{path}: holds no list of boxes")
    return rows


def _box(path: Path, n: int, item: Any) -> Box:
    """Four numbers of one frame; whole ones, but for the reference's 0.0 where it saw no face."""
    values = item.tolist() if isinstance(item, np.ndarray) else item
    good = isinstance(values, list | tuple) and len(values) == 4
    good = good and all(type(value) in (int, float) and abs(value) < 1 << 20 for value in values)
    if not good:
        raise ImportRefused(f"{path}: frame {n} has no box of four numbers")
    x0, y0, x1, y1 = (round(value) for value in values)
    return x0, y0, x1, y1


def _inside(box: Box, width: int, height: int) -> Box | None:
    """The part of a box in the picture; the reference's crop is cut off at the right and the bottom likewise."""
    x0, y0, x1, y1 = box
    if x0 < 0 or y0 < 0:  # there its crop is another part of the picture, or empty
        return None
    x1, y1 = min(x1, width), min(y1, height)
    return (x0, y0, x1, y1) if x1 - x0 >= SMALLEST and y1 - y0 >= SMALLEST else None


def _latents(path: Path, faces: list[bool]) -> F32:
    """(n, 8, 32, 32); the reference keeps none for frames without a face, so its list may be shorter."""
    import torch

    from pipeline.lipsync.musetalk import weights

    try:
        value = weights.read(path)
    except weights.WeightsRefused as error:
        raise ImportRefused(f"{path}: cannot be read as tensors ({error})") from error
    parts = list(value) if isinstance(value, list | tuple | torch.Tensor) else []
    count = sum(faces)
    if len(parts) not in (count, len(faces)):
        raise ImportRefused(f"{path}: holds {len(parts)} latents for {count} faces")
    out = np.zeros((len(faces), *prepared.LATENT), np.float32)
    places = range(len(faces)) if len(parts) == len(faces) else [n for n, there in enumerate(faces) if there]
    for n, part in zip(places, parts, strict=True):
        shape = tuple(part.shape) if isinstance(part, torch.Tensor) else ()
        if shape not in (prepared.LATENT, (1, *prepared.LATENT)) or not part.is_floating_point():
            raise ImportRefused(f"{path}: latent {n} has the shape {shape}, not (1, 8, 32, 32)")
        out[n] = part.float().reshape(prepared.LATENT).numpy()
    if not np.isfinite(out).all():
        raise ImportRefused(f"{path}: holds values that are no numbers")
    return out


def _info(folder: Path) -> tuple[Version | None, int]:
    for name in _INFO:
        try:
            info = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise ImportRefused(f"{folder / name}: cannot be read ({error})") from error
        if not isinstance(info, dict):
            raise ImportRefused(f"{folder / name}: holds no object")
        version: Version | None = {"v15": "1.5", "v1": "1.0"}.get(str(info.get("version")))  # type: ignore[assignment]
        shift = info.get("bbox_shift")
        return version, shift if type(shift) is int and abs(shift) <= 100 else 0
    return None, 0
