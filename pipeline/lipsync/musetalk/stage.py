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


class Stage:
    """Everything that drawing needs of an avatar of n frames, on the device.

    Patches have one canvas for all frames, (height, width), so that a batch is one tensor; a patch fills its upper
    left corner. Blending is done in YUV, where a pixel of weight 0 keeps the frame's own value exactly.
    """

    def __init__(
        self, prepared: Prepared, frames: U8, width: int, height: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """frames: (n, width * height * 3 / 2) I420."""
        count = prepared.count
        self.places = [prepared.patch(n) for n in range(count)]
        self.usable = [prepared.usable(n) for n in range(count)]
        self.width, self.height = max(2, *(w for _, _, w, _ in self.places)), max(2, *(h for _, _, _, h in self.places))
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
        self._luma, self._chroma = torch.from_numpy(luma).to(device), torch.from_numpy(chroma).to(device)
        self._weight = torch.from_numpy(weight).to(device)
        self._coarse = torch.from_numpy(((coarse + 2) // 4).astype(np.uint8)).to(device)
        x0, y0, x1, y1 = (prepared.boxes[:, k].astype(np.float32) for k in range(4))
        left, top = (np.array([place[k] for place in self.places], np.float32) for k in (0, 1))
        wide, high = np.maximum(x1 - x0, 1), np.maximum(y1 - y0, 1)
        # Canvas to face, in grid_sample's -1..1: 2 * (column + left - x0 + 0.5) / (x1 - x0) - 1.
        grid = np.stack([2 * (left - x0 + 0.5) / wide - 1, 2 / wide, 2 * (top - y0 + 0.5) / high - 1, 2 / high], 1)
        self._grid = torch.from_numpy(grid).to(device)
        self._columns = torch.arange(self.width, device=device, dtype=torch.float32)
        self._rows = torch.arange(self.height, device=device, dtype=torch.float32)
        self._yuv = torch.tensor(_TO_YUV, device=device, dtype=torch.float32)
        self._offset = torch.tensor(_OFFSET, device=device)[:, None, None]

    @torch.inference_mode()
    def lay(self, faces: torch.Tensor, frames: Sequence[int], presence: Sequence[float]) -> torch.Tensor:
        """Faces [B, 3, 256, 256] RGB 0..255 on avatar frames -> [B, bytes] uint8: the canvases' Y, U and V planes."""
        device = faces.device
        at = _sent(torch.tensor(frames), device)
        strength = _sent(torch.tensor(presence, dtype=torch.float32), device)[:, None, None]
        x0, dx, y0, dy = (column[:, None] for column in self._grid[at].unbind(1))
        across, down = x0 + dx * self._columns, y0 + dy * self._rows
        grid = torch.stack(
            (across[:, None, :].expand(-1, self.height, -1), down[:, :, None].expand(-1, -1, self.width)), dim=-1
        )
        # The reference rounds the resized picture to bytes, then mixes.
        picture = F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False).round()
        yuv = torch.einsum("yc,bchw->byhw", self._yuv, picture) + self._offset
        luma = _mix(self._luma[at], yuv[:, 0], self._weight[at], strength)
        chroma = _mix(self._chroma[at], F.avg_pool2d(yuv[:, 1:], 2), self._coarse[at][:, None], strength[:, None])
        return torch.cat((luma.flatten(1), chroma.flatten(1)), dim=1)


def _mix(old: torch.Tensor, new: torch.Tensor, weight: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """t = old (255 - w) + new w + 128; (t + (t >> 8)) >> 8: the reference's rounding, exact at weights 0 and 255."""
    w = (weight * strength).round().int()
    total = old.int() * (255 - w) + new.round().clamp(0, 255).int() * w + 128
    return ((total + (total >> 8)) >> 8).to(torch.uint8)


def _sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, without waiting for what is under way there."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values
