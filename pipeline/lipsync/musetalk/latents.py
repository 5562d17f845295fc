"""Face crops <-> latents: what the UNet takes, and the faces that come back."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.lipsync.musetalk.networks import LATENT_SCALE

U8 = NDArray[np.uint8]
SIZE = 256


def crops(frames: Sequence[U8], boxes: Sequence[tuple[int, int, int, int]]) -> torch.Tensor:
    """BGR frames and boxes (x0, y0, x1, y1) -> [B, 3, 256, 256] RGB in 0..1."""
    images = [
        cv2.cvtColor(cv2.resize(frame[y0:y1, x0:x1], (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4), cv2.COLOR_BGR2RGB)
        for frame, (x0, y0, x1, y1) in zip(frames, boxes, strict=True)
    ]
    # Contiguous: with the channels last in memory the encoder's sums run in another order, which the constant half of a
    # masked face amplifies (3e-3 on the tiny golden VAE, against 1e-6).
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255


@torch.inference_mode()
def encode(vae: torch.nn.Module, faces: torch.Tensor) -> torch.Tensor:
    """Crops in 0..1 -> [B, 8, 32, 32]: the face with its lower half masked, then the whole face.

    The mask multiplies before the shift to -1..1, so masked pixels are -1. The latent's mean is taken, which repeats.
    """
    masked = faces.clone()
    masked[:, :, SIZE // 2 :] = 0
    both = torch.cat([masked, faces]).sub(0.5).div(0.5)
    mean = vae.encode(both).latent_dist.mode() * LATENT_SCALE
    half = len(faces)
    return torch.cat([mean[:half], mean[half:]], dim=1)


@torch.inference_mode()
def decode(vae: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """[B, 4, 32, 32] -> uint8 [B, 256, 256, 3] BGR."""
    images = vae.decode(latents / LATENT_SCALE).sample
    images = (images / 2 + 0.5).clamp(0, 1)
    # Rounded half to even, as numpy does it.
    return (images.permute(0, 2, 3, 1).float() * 255).round().to(torch.uint8).flip(-1)
