"""BiSeNet (Yu et al. 2018, arXiv 1808.00897) with a ResNet-18 (He et al. 2015): the face's classes from its picture.

Names of modules are those of face-parsing.PyTorch's weight file (`79999_iter.pth`), which has no spatial path: the
features of ResNet's second stage stand in for it. The heads at 1/16 and 1/32 serve training only; they are here so
that the file loads whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipeline.lipsync.musetalk.blending import LABELS, crop_box
from pipeline.lipsync.musetalk.installation import wrong
from pipeline.lipsync.musetalk.prepared import Box, Parsing
from pipeline.lipsync.musetalk.weights import WeightsRefused, read

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

CLASSES = 19
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB
_NOT_STORED = "num_batches_tracked"  # older files lack these counters, which inference does not read


class _ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inside: int, out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(shortcut + self.bn2(self.conv2(inner)))


class _ResNet18(nn.Module):
    """Features at 1/8 (128 channels), 1/16 (256) and 1/32 (512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Residual(64, 64, 1), _Residual(64, 64, 1))
        self.layer2 = nn.Sequential(_Residual(64, 128, 2), _Residual(128, 128, 1))
        self.layer3 = nn.Sequential(_Residual(128, 256, 2), _Residual(256, 256, 1))
        self.layer4 = nn.Sequential(_Residual(256, 512, 2), _Residual(512, 512, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer1(functional.max_pool2d(x, 3, 2, 1))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Attention(nn.Module):
    """The paper's attention refinement module: channels weighed by what the whole picture holds."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.conv = _ConvNorm(inside, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.conv(x)
        weight = self.bn_atten(self.conv_atten(features.mean((2, 3), keepdim=True)))
        return features * torch.sigmoid(weight)


class _ContextPath(nn.Module):
    """The backbone's features at 1/8, and the context of 1/16 and 1/32 brought up to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _ResNet18()
        self.arm16 = _Attention(256, 128)
        self.arm32 = _Attention(512, 128)
        self.conv_head32 = _ConvNorm(128, 128)
        self.conv_head16 = _ConvNorm(128, 128)
        self.conv_avg = _ConvNorm(512, 128, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        eighth, sixteenth, last = self.resnet(x)
        overall = self.conv_avg(last.mean((2, 3), keepdim=True))
        context = functional.interpolate(self.arm32(last) + overall, sixteenth.shape[2:], mode="nearest")
        context = self.arm16(sixteenth) + self.conv_head32(context)
        return eighth, self.conv_head16(functional.interpolate(context, eighth.shape[2:], mode="nearest"))


class _Fusion(nn.Module):
    """The paper's feature fusion module."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = _ConvNorm(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, detail: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        features = self.convblk(torch.cat([detail, context], 1))
        weight = self.conv2(functional.relu(self.conv1(features.mean((2, 3), keepdim=True))))
        return features + features * torch.sigmoid(weight)


class _Head(nn.Module):
    def __init__(self, inside: int, middle: int) -> None:
        super().__init__()
        self.conv = _ConvNorm(inside, middle)
        self.conv_out = nn.Conv2d(middle, CLASSES, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Normalised RGB [B, 3, 512, 512] -> scores of the 19 classes [B, 19, 512, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = _ContextPath()
        self.ffm = _Fusion()
        self.conv_out = _Head(256, 256)
        self.conv_out16 = _Head(128, 64)
        self.conv_out32 = _Head(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.conv_out(self.ffm(*self.cp(x)))
        return functional.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


class BiSeNetParser:
    """A FaceParser by BiSeNet's own weights."""

    source: Parsing = "bisenet"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        """Raises InstallationError when the file does not hold the network's weights."""
        self._device = torch.device(device)
        self._net = load(weights).to(self._device)

    @torch.inference_mode()
    def labels(self, frames: Sequence[U8], boxes: Sequence[Box], landmarks: F32) -> list[U8]:
        pictures = np.stack([crop(frame, box) for frame, box in zip(frames, boxes, strict=True)])
        x = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).contiguous().float() / 255
        mean = torch.tensor(_MEAN, device=self._device).view(1, 3, 1, 1)
        deviation = torch.tensor(_DEVIATION, device=self._device).view(1, 3, 1, 1)
        found = self._net((x - mean) / deviation).argmax(1).to(torch.uint8).cpu().numpy()
        return list(found)


def load(weights: Path) -> BiSeNet:
    """The network, filled; float32, on the CPU. Raises InstallationError."""
    try:
        state = read(weights)
    except WeightsRefused as error:
        raise wrong(weights, f"cannot be read as PyTorch weights ({error})") from error
    net = BiSeNet()
    try:
        missing, unexpected = net.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise wrong(weights, f"does not fit BiSeNet: {str(error)[:500]}") from error
    others = [name for name in (*missing, *unexpected) if not name.endswith(_NOT_STORED)]
    if others:
        raise wrong(weights, f"does not fit BiSeNet: {', '.join(others)[:500]}")
    return net.eval().requires_grad_(False)


def crop(frame: U8, box: Box) -> U8:
    """The square around a face box (black outside the frame) as RGB (512, 512, 3), resized as the reference does."""
    from PIL import Image

    left, top, right, bottom = crop_box(box)
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    square = np.zeros((bottom - top, right - left, 3), np.uint8)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = cv2.cvtColor(frame[y0:y1, x0:x1], cv2.COLOR_BGR2RGB)
    return np.asarray(Image.fromarray(square).resize((LABELS, LABELS), Image.Resampling.BILINEAR), np.uint8)
