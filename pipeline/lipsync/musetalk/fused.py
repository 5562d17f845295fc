"""The networks' blocks rebuilt around fewer passes over memory: the same weights, the same result, for NVIDIA GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import FusedAttnProcessor2_0
from torch import nn

from pipeline.lipsync.musetalk import kernels

_LAST = torch.channels_last
_LARGE = 640
"""Channels up to which doubling is rebuilt: with more, the merged weights cost more to read than they save."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts are rebuilt; all of them but for measurements."""

    resnets: bool = True
    transformers: bool = True
    doubling: bool = True


ALL = Parts()


@torch.inference_mode()
def fuse(network: nn.Module, parts: Parts = ALL) -> None:
    """Rebuild what can be of a UNet (its time folded into its biases) or a VAE's decoder.

    What remains must get its pictures with the channels last.
    """
    for name, module in list(network.named_modules()):
        new = _rebuilt(module, parts)
        if new is not None:
            above, _, own = name.rpartition(".")
            setattr(network.get_submodule(above), own, new)
    if parts.resnets:
        network.conv_norm_out, network.conv_act = Norm(network.conv_norm_out, silu=True), nn.Identity()


def _rebuilt(module: Any, parts: Parts) -> nn.Module | None:
    match type(module).__name__:
        case "ResnetBlock2D" if parts.resnets:
            return Resnet(module)
        case "Transformer2DModel" if parts.transformers:
            return Transformer(module)
        case "Upsample2D" if parts.doubling and module.channels <= _LARGE:
            return Doubling(module)
    return None


class Norm(nn.Module):
    """A group norm, then SiLU if asked."""

    def __init__(self, norm: Any, *, silu: bool) -> None:
        super().__init__()
        self.norm, self.silu = norm, silu

    def forward(self, x: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
        norm = self.norm
        return kernels.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps, silu=self.silu, before=before)


class Resnet(nn.Module):
    """A ResnetBlock2D that no time goes into: its first bias goes into the second norm, the others into the sum."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        if (
            getattr(block, "time_emb_proj", None) is not None
            or block.upsample is not None
            or block.downsample is not None
            or block.output_scale_factor != 1.0
            or not isinstance(block.nonlinearity, nn.SiLU)
        ):
            raise ValueError("a block of another kind than those of MuseTalk's networks")
        self.norm1, self.norm2 = Norm(block.norm1, silu=True), Norm(block.norm2, silu=True)
        self.conv1, self.conv2, self.shortcut = block.conv1, block.conv2, block.conv_shortcut
        bias = block.conv2.bias if self.shortcut is None else block.conv2.bias + self.shortcut.bias
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        x = x.contiguous(memory_format=_LAST)
        h = F.conv2d(self.norm1(x), self.conv1.weight, padding=1)
        h = F.conv2d(self.norm2(h, self.conv1.bias), self.conv2.weight, padding=1)
        if self.shortcut is not None:
            x = F.conv2d(x, self.shortcut.weight)
        return kernels.plus(h, x, self.bias)


class Transformer(nn.Module):
    """A Transformer2DModel whose 1x1 convolutions are matrix products, so that no picture is laid out anew."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.norm = Norm(model.norm, silu=False)
        self.inner, self.outer = (_linear(conv) for conv in (model.proj_in, model.proj_out))
        self.blocks = nn.ModuleList(Block(block) for block in model.transformer_blocks)

    def forward(self, x: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        pictures, channels, height, width = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(pictures, height * width, channels)
        tokens = self.inner(tokens)
        for block in self.blocks:
            tokens = block(tokens, encoder_hidden_states)
        out = F.linear(tokens, self.outer.weight).reshape(pictures, height, width, channels).permute(0, 3, 1, 2)
        return (kernels.plus(out, x, self.outer.bias),)


def _linear(conv: Any) -> nn.Linear:
    """A 1x1 convolution as a matrix product."""
    linear = nn.Linear(conv.in_channels, conv.out_channels, device=conv.weight.device, dtype=conv.weight.dtype)
    linear.weight.copy_(conv.weight[:, :, 0, 0])
    linear.bias.copy_(conv.bias)
    return linear.requires_grad_(False)


class Block(nn.Module):
    """A BasicTransformerBlock: each sum is taken together with the norm after it, queries, keys and values at once."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norms = nn.ModuleList((block.norm1, block.norm2, block.norm3))
        self.attention, self.cross = block.attn1, block.attn2
        for attention in (self.attention, self.cross):
            attention.fuse_projections()
            attention.set_processor(FusedAttnProcessor2_0())
        self.up, self.down = block.ff.net[0].proj, block.ff.net[2]

    def forward(self, x: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        x, y = self._add_norm(0, x, None)
        x, y = self._add_norm(1, x, self.attention(y))
        x, y = self._add_norm(2, x, self.cross(y, encoder_hidden_states=spoken))
        return x + self.down(kernels.gate(self.up(y)))

    def _add_norm(self, nth: int, x: torch.Tensor, h: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        norm: Any = self.norms[nth]
        return kernels.add_norm(x, h, norm.weight, norm.bias, norm.eps)


class Doubling(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution as four 2x2 convolutions of the picture before it is doubled.

    Taps that fall on the same pixel are summed beforehand: 4 of 9 multiplications, and no doubled picture in memory.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        weight = block.conv.weight.detach()
        merged = [_merge(_merge(weight.float(), 2, down), 3, right) for down in (0, 1) for right in (0, 1)]
        self.register_buffer("weight", torch.cat(merged).to(weight.dtype))
        self.bias = block.conv.bias

    def forward(self, x: torch.Tensor, output_size: None = None) -> torch.Tensor:
        x = x.contiguous(memory_format=_LAST)
        return kernels.interleave(F.conv2d(x, self.weight, padding=1), self.bias)


def _merge(weight: torch.Tensor, dim: int, odd: int) -> torch.Tensor:
    """Three taps on doubled pixels as two on single ones, for the even or the odd pixels of a direction."""
    first, second, third = weight.unbind(dim)
    return torch.stack((first + second, third) if odd else (first, second + third), dim)
