"""Prepares avatars for MuseTalk: boxes, latents and masks of all frames, in batches, written into the avatar."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray

from avatars.avatar import Avatar
from pipeline.lipsync.musetalk import blending, colour, latents, networks, prepared
from pipeline.lipsync.musetalk.boxes import boxes
from pipeline.lipsync.musetalk.installation import Installation
from pipeline.lipsync.musetalk.parsing import FaceParser, LandmarkParser
from pipeline.lipsync.musetalk.prepared import FOLDER, Box, Prepared
from pipeline.lipsync.musetalk.settings import MuseTalkSettings

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Progress = Callable[[float], None]

BATCH = 8  # frames; the encoder takes two pictures of each
log = logging.getLogger(__name__)


def _exact() -> AbstractContextManager[None]:
    """A GPU's convolutions as the CPU's: full float32 instead of TF32's 10 bits, and the same every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


class Preparer:
    """The networks of preparation on one device, loaded once. Not thread-safe; takes nothing random, so it repeats."""

    def __init__(self, installation: Installation, device: str = "cpu", batch: int = BATCH) -> None:
        """Raises InstallationError."""
        self._device = torch.device(device)
        self._batch = batch
        self._vae = networks.vae(installation).to(self._device, torch.float32)
        self._parser = _parser(installation, device)

    def prepare(self, avatar: Avatar, settings: MuseTalkSettings, progress: Progress) -> Prepared:
        """Everything of one avatar, also written to `avatar.path / "musetalk"`.

        progress is told 0..1 after each batch; what it raises ends the work and leaves what was there before.
        Holds one batch of frames at a time, 32 kB of latents and some 30 kB of mask for each frame of 720p.
        """
        progress(0.0)
        count = avatar.count
        found = boxes(avatar.faces.landmarks, avatar.width, avatar.height, settings)
        encoded = np.zeros((count, *prepared.LATENT), np.float32)
        faces: list[tuple[Box, U8] | None] = [None] * count
        usable = [n for n in range(count) if found[n].any()]
        for start in range(0, len(usable), self._batch):
            numbers = usable[start : start + self._batch]
            frames = [colour.bgr(avatar, n) for n in numbers]
            squares: list[Box] = [(int(b[0]), int(b[1]), int(b[2]), int(b[3])) for b in found[numbers]]
            crops = latents.crops(frames, squares).to(self._device, torch.float32)
            with _exact():
                encoded[numbers] = self._encode(crops)
                parsed = self._parser.labels(frames, squares, avatar.faces.landmarks[numbers])
            for n, box, labels in zip(numbers, squares, parsed, strict=True):
                faces[n] = (box, on_box(blending.mask(labels, box, settings.mode, settings.cheek_width), box))
            progress((start + len(numbers)) / len(usable) * 0.99)
        if len(usable) < count:
            log.info("%s: %d of %d frames have no face that can be drawn", avatar.id, count - len(usable), count)
        made = prepared.build(settings.version, settings.key(), self._parser.source, encoded, faces)
        prepared.save(made, avatar.path / FOLDER)
        progress(1.0)
        return made

    def _encode(self, crops: torch.Tensor) -> F32:
        """Latents of crops; in halves, where the device has not the memory for all of them at once."""
        with contextlib.suppress(torch.OutOfMemoryError):
            return np.asarray(latents.encode(self._vae, crops).float().cpu().numpy())
        if len(crops) == 1:
            raise torch.OutOfMemoryError("the device has not the memory for one face")
        half = len(crops) // 2
        return np.concatenate([self._encode(crops[:half]), self._encode(crops[half:])])


def prepare(
    avatar: Avatar,
    installation: Installation,
    settings: MuseTalkSettings,
    device: str = "cpu",
    progress: Progress = lambda _: None,
) -> Prepared:
    """Prepare one avatar, see `Preparer.prepare`. The installation's version must be the settings'."""
    if installation.version != settings.version:
        raise ValueError(f"an installation of {installation.version} cannot prepare for {settings.version}")
    return Preparer(installation, device).prepare(avatar, settings, progress)


def on_box(soft: U8, box: Box) -> U8:
    """The part of a crop box's mask that lies on the face box, which is all that counts."""
    left, top, _, _ = blending.crop_box(box)
    x0, y0, x1, y1 = box
    return soft[y0 - top : y1 - top, x0 - left : x1 - left]


def _parser(installation: Installation, device: str) -> FaceParser:
    if installation.parser_weights is None:
        return LandmarkParser()
    from pipeline.lipsync.musetalk.bisenet import BiSeNetParser

    return BiSeNetParser(installation.parser_weights, device)
