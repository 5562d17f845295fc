"""What runs on the GPU for kernels.py, in Triton: each function is one kernel, its pictures have the channels last."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sums(x, out, pixels, channels, tile, BP: tl.constexpr, BC: tl.constexpr):
    """Sums and sums of squares of each channel over one tile of pixels: out[picture, tile, 2, channel]."""
    nth, column, picture = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = column * BC + tl.arange(0, BC)
    x += picture.to(tl.int64) * pixels * channels
    total = tl.zeros([BP, BC], tl.float32)
    squares = tl.zeros([BP, BC], tl.float32)
    first = nth * tile
    for start in range(first, first + tile, BP):
        p = start + tl.arange(0, BP)
        inside = ((p < pixels) & (p < first + tile))[:, None] & (c < channels)[None, :]
        value = tl.load(x + p[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        total += value
        squares += value * value
    out += (picture * tl.num_programs(0) + nth) * 2 * channels
    tl.store(out + c, tl.sum(total, 0), mask=c < channels)
    tl.store(out + channels + c, tl.sum(squares, 0), mask=c < channels)


@triton.jit
def line(
    sums, before, weight, bias, out, pixels, channels, tiles, eps,
    HAS_BEFORE: tl.constexpr, CG: tl.constexpr, BG: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """The line y = a x + b of each channel that normalises its group: out[picture, 2, channel]."""
    group, picture = tl.program_id(0), tl.program_id(1)
    k, t = tl.arange(0, BG), tl.arange(0, BT)
    c = group * CG + k
    kept = k < CG
    at = sums + ((picture * tiles + t[:, None]) * 2 * channels + c[None, :])
    inside = (t < tiles)[:, None] & kept[None, :]
    total = tl.sum(tl.load(at, mask=inside, other=0.0), 0)
    squares = tl.sum(tl.load(at + channels, mask=inside, other=0.0), 0)
    shift = tl.zeros([BG], tl.float32)
    if HAS_BEFORE:
        shift = tl.load(before + c, mask=kept, other=0.0).to(tl.float32)
        squares += shift * (2 * total + pixels * shift)
        total += pixels * shift
    mean = tl.sum(total, 0) / (pixels * CG)
    variance = tl.sum(squares, 0) / (pixels * CG) - mean * mean
    scale = tl.load(weight + c, mask=kept, other=0.0).to(tl.float32) / tl.sqrt(tl.maximum(variance, 0.0) + eps)
    offset = tl.load(bias + c, mask=kept, other=0.0).to(tl.float32) + (shift - mean) * scale
    out += picture * 2 * channels
    tl.store(out + c, scale, mask=kept)
    tl.store(out + channels + c, offset, mask=kept)


@triton.jit
def apply(x, line, y, pixels, channels, SILU: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    block, column, picture = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p = block * BP + tl.arange(0, BP)
    c = column * BC + tl.arange(0, BC)
    line += picture * 2 * channels
    scale = tl.load(line + c, mask=c < channels, other=0.0)
    offset = tl.load(line + channels + c, mask=c < channels, other=0.0)
    inside = (p < pixels)[:, None] & (c < channels)[None, :]
    at = picture.to(tl.int64) * pixels * channels + p[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) * scale[None, :] + offset[None, :]
    if SILU:
        value = value * tl.sigmoid(value)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def plus(a, b, bias, y, count, channels, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(a + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(b + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + (at % channels).to(tl.int32), mask=inside, other=0.0).to(tl.float32)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def interleave(x, bias, y, height, width, channels, BP: tl.constexpr, BC: tl.constexpr):
    """x: (height + 1, width + 1, 4, channels) -> y: (2 height, 2 width, channels)."""
    block, column, picture = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p = block * BP + tl.arange(0, BP)
    c = column * BC + tl.arange(0, BC)
    row, col = p // (2 * width), p % (2 * width)
    down, right = row % 2, col % 2
    source = ((row // 2 + down) * (width + 1) + col // 2 + right) * 4 + down * 2 + right
    inside = (p < 4 * height * width)[:, None] & (c < channels)[None, :]
    x += picture.to(tl.int64) * (height + 1) * (width + 1) * 4 * channels
    y += picture.to(tl.int64) * 4 * height * width * channels
    value = tl.load(x + source[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    tl.store(y + p[:, None] * channels + c[None, :], value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def add_norm(
    x, h, weight, bias, total, y, rows, width, eps, ADDS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    k = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (k < width)[None, :]
    at = row[:, None] * width + k[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        value += tl.load(h + at, mask=inside, other=0.0).to(tl.float32)
        value = value.to(x.dtype.element_ty)
        tl.store(total + at, value, mask=inside)
        value = value.to(tl.float32)
    mean = tl.sum(value, 1) / width
    off = tl.where(inside, value - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(off * off, 1) / width + eps)
    w = tl.load(weight + k, mask=k < width, other=0.0).to(tl.float32)
    b = tl.load(bias + k, mask=k < width, other=0.0).to(tl.float32)
    tl.store(y + at, (off * scale[:, None] * w[None, :] + b[None, :]).to(y.dtype.element_ty), mask=inside)


@triton.jit
def gate(x, y, count, width, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    source = at // width * 2 * width + at % width
    value = tl.load(x + source, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + source + width, mask=inside, other=0.0).to(tl.float32)
    gate = 0.5 * gate * (1 + tl.math.erf(gate * 0.7071067811865476))
    tl.store(y + at, (value * gate).to(y.dtype.element_ty), mask=inside)
