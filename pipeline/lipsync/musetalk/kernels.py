"""Group norm with SiLU, sums, doubling and gated GELU for pictures with their channels last, on an NVIDIA GPU.

They exist because PyTorch's group norm takes such a picture apart into planes and back, and because each bias, SiLU and
sum is a pass of its own over pictures that do not fit into the cache.
"""

from __future__ import annotations

import torch
import triton

from pipeline.lipsync.musetalk import triton_kernels

_MOST_TILES = 64


def group_norm(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float, *,
    silu: bool, before: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Group norm (Wu and He 2018), then SiLU if asked, of x + before; sums in float32.

    x: (B, C, H, W), channels last. before: (C,), the bias of the convolution that made x.
    """
    _must_be_last(x)
    pictures, channels, height, width = x.shape
    pixels = height * width
    block = 64 if channels % 64 == 0 else min(64, triton.next_power_of_2(channels))
    columns = triton.cdiv(channels, block)
    rows = 64
    tiles = max(1, min(_MOST_TILES, triton.cdiv(pixels, rows), triton.cdiv(1056, columns * pictures)))
    tile = triton.cdiv(triton.cdiv(pixels, tiles), rows) * rows
    tiles = triton.cdiv(pixels, tile)
    sums = torch.empty((pictures, tiles, 2, channels), device=x.device, dtype=torch.float32)
    triton_kernels.sums[(tiles, columns, pictures)](x, sums, pixels, channels, tile, BP=rows, BC=block)
    line = torch.empty((pictures, 2, channels), device=x.device, dtype=torch.float32)
    size = channels // groups
    triton_kernels.line[(groups, pictures)](
        sums, x if before is None else before, weight, bias, line, pixels, channels, tiles, eps,
        HAS_BEFORE=before is not None, CG=size, BG=triton.next_power_of_2(size), BT=triton.next_power_of_2(tiles),
    )  # fmt: skip
    y = torch.empty_like(x)
    triton_kernels.apply[(triton.cdiv(pixels, rows), columns, pictures)](
        x, line, y, pixels, channels, SILU=silu, BP=rows, BC=block
    )
    return y


def plus(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """a + b + bias: (B, C, H, W) channels last, and (C,)."""
    _must_be_last(a)
    _must_be_last(b)
    y = torch.empty_like(a)
    triton_kernels.plus[(triton.cdiv(a.numel(), 2048),)](a, b, bias, y, a.numel(), a.shape[1], BLOCK=2048)
    return y


def interleave(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Four pictures (B, 4 C, H + 1, W + 1) channels last, of the even and odd rows and columns -> (B, C, 2 H, 2 W).

    Pixel (2 i + a, 2 j + b) is pixel (i + a, j + b) of picture 2 a + b, plus bias (C,).
    """
    _must_be_last(x)
    pictures, channels, height, width = x.shape[0], x.shape[1] // 4, x.shape[2] - 1, x.shape[3] - 1
    y = torch.empty(
        (pictures, channels, 2 * height, 2 * width), device=x.device, dtype=x.dtype, memory_format=torch.channels_last
    )
    block = min(64, triton.next_power_of_2(channels))
    triton_kernels.interleave[(triton.cdiv(4 * height * width, 64), triton.cdiv(channels, block), pictures)](
        x, bias, y, height, width, channels, BP=64, BC=block
    )
    return y


def add_norm(
    x: torch.Tensor, h: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x + h (x where h is None) and its layer norm: (…, C) contiguous."""
    width = x.shape[-1]
    rows = x.numel() // width
    y = torch.empty_like(x)
    total = x if h is None else torch.empty_like(x)
    block = triton.next_power_of_2(width)
    together = max(1, 2048 // block)
    triton_kernels.add_norm[(triton.cdiv(rows, together),)](
        x, x if h is None else h, weight, bias, total, y, rows, width, eps,
        ADDS=h is not None, ROWS=together, BLOCK=block,
    )  # fmt: skip
    return total, y


def gate(x: torch.Tensor) -> torch.Tensor:
    """(…, 2 F) contiguous -> (…, F): the first half times the GELU of the second (Shazeer 2020)."""
    width = x.shape[-1] // 2
    y = torch.empty((*x.shape[:-1], width), device=x.device, dtype=x.dtype)
    triton_kernels.gate[(triton.cdiv(y.numel(), 1024),)](x, y, y.numel(), width, BLOCK=1024)
    return y


def _must_be_last(x: torch.Tensor) -> None:
    if not x.is_contiguous(memory_format=torch.channels_last):
        raise ValueError(f"not channels last: {tuple(x.shape)} {x.stride()}")
