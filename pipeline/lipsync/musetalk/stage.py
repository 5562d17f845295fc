"""An avatar on the device: its latents, and the pixels, masks and places of its patches; faces are laid onto them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from avatars.avatar import U8, planes
from pipeline.lipsync.musetalk.prepared import Prepared

# RGB 0..255 to Y, U, V: the inverse of the matrix by which the model saw the frames (OpenCV's, see colour.py).
_TO_YUV = np.array([[65.738, 129.057, 25.064], [-37.945, -74.494, 112.439], [112.439, -94.154, -18.285]]) / 256
_OFFSET = (16.0, 128.0, 128.0)


CANVAS = 32
"""Canvases are multiples of this, so that avatars of like faces share one size, and with it one call of `lay`."""


class Stage:
    """Everything that drawing needs of an avatar of n frames, on the device.

    Its patches have one canvas for all frames, (height, width), so that a batch is one tensor; a patch fills its upper
    left corner. Blending is done in YUV, where a pixel of weight 0 keeps the frame's own value exactly.
    """

    def __init__(
        self, prepared: Prepared, frames: U8, width: int, height: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """frames: (n, width * height * 3 / 2) I420."""
        count = prepared.count
        self.places = [prepared.patch(n) for n in range(count)]
        self.usable = [prepared.usable(n) for n in range(count)]
        self.width, self.height = (
            -(-max(place[k] for place in self.places) // CANVAS) * CANVAS or CANVAS for k in (2, 3)
        )
        luma = np.zeros((count, self.height, self.width), np.uint8)
        weight = np.zeros((count, self.height, self.width), np.uint8)
        chroma = np.zeros((count, 2, self.height // 2, self.width // 2), np.uint8)
        for n, (x, y, w, h) in enumerate(self.places):
            if not self.usable[n]:
                continue
            whole = planes(frames[n], width, height)
            luma[n, :h, :w] = whole[0][y : y + h, x : x + w]
            for c in (0, 1):
                chroma[n, c, : h // 2, : w // 2] = whole[1 + c][y // 2 : (y + h) // 2, x // 2 : (x + w) // 2]
            weight[n, :h, :w] = prepared.patch_mask(n)
        coarse = weight.reshape(count, self.height // 2, 2, self.width // 2, 2).astype(np.uint16).sum((2, 4))
        self.bytes = self.width * self.height * 3 // 2
        self.latents = torch.from_numpy(np.array(prepared.latents)).to(device, dtype)
        self.luma, self.chroma = torch.from_numpy(luma).to(device), torch.from_numpy(chroma).to(device)
        self.weight = torch.from_numpy(weight).to(device)
        self.coarse = torch.from_numpy(((coarse + 2) // 4).astype(np.uint8)).to(device)
        x0, y0, x1, y1 = (prepared.boxes[:, k].astype(np.float32) for k in range(4))
        left, top = (np.array([place[k] for place in self.places], np.float32) for k in (0, 1))
        wide, high = np.maximum(x1 - x0, 1), np.maximum(y1 - y0, 1)
        # Canvas to face, in grid_sample's -1..1: 2 * (column + left - x0 + 0.5) / (x1 - x0) - 1.
        grid = np.stack([2 * (left - x0 + 0.5) / wide - 1, 2 / wide, 2 * (top - y0 + 0.5) / high - 1, 2 / high], 1)
        self.grid = torch.from_numpy(grid).to(device)

    @property
    def canvas(self) -> tuple[int, int]:
        return self.width, self.height


class Blender:
    """Lays faces onto stages of one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._yuv = torch.tensor(_TO_YUV, device=device, dtype=torch.float32)
        self._offset = torch.tensor(_OFFSET, device=device)[:, None, None]

    @torch.inference_mode()
    def lay(self, faces: torch.Tensor, places: Sequence[tuple[Stage, int]], presence: Sequence[float]) -> torch.Tensor:
        """Faces [B, 3, 256, 256] RGB 0..255, each on a frame of a stage, all of one canvas -> [B, bytes] uint8: the
        canvases' Y, U and V planes."""
        width, height = places[0][0].canvas
        given = torch.tensor(presence, dtype=torch.float32)
        if self._device.type == "cuda":  # without waiting for what is under way there
            given = given.pin_memory().to(self._device, non_blocking=True)
        strength = given[:, None, None]
        x0, dx, y0, dy = (column[:, None] for column in torch.stack([s.grid[n] for s, n in places]).unbind(1))
        across = x0 + dx * torch.arange(width, device=self._device, dtype=torch.float32)
        down = y0 + dy * torch.arange(height, device=self._device, dtype=torch.float32)
        grid = torch.stack((across[:, None, :].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)), dim=-1)
        # The reference rounds the resized picture to bytes, then mixes.
        picture = F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False).round()
        yuv = torch.einsum("yc,bchw->byhw", self._yuv, picture) + self._offset
        luma, chroma, weight, coarse = (
            torch.stack([getattr(stage, name)[n] for stage, n in places])
            for name in ("luma", "chroma", "weight", "coarse")
        )
        luma = _mix(luma, yuv[:, 0], weight, strength)
        chroma = _mix(chroma, F.avg_pool2d(yuv[:, 1:], 2), coarse[:, None], strength[:, None])
        return torch.cat((luma.flatten(1), chroma.flatten(1)), dim=1)


def _mix(old: torch.Tensor, new: torch.Tensor, weight: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """t = old (255 - w) + new w + 128; (t + (t >> 8)) >> 8: the reference's rounding, exact at weights 0 and 255."""
    w = (weight * strength).round().int()
    total = old.int() * (255 - w) + new.round().clamp(0, 255).int() * w + 128
    return ((total + (total >> 8)) >> 8).to(torch.uint8)
