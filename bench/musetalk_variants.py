"""`python -m bench.musetalk_variants`: what each way of computing MuseTalk's networks gives and costs, on one GPU.

Full-size networks of random weights. Speed in frames a second; closeness as PSNR of the faces' lower halves, which
hold the mouth, against plain fp32 on the same inputs.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import nn

from bench import musetalk_random
from bench.musetalk_buckets import product, recorded, seconds_of
from pipeline.lipsync.musetalk import drawing, fused, networks
from pipeline.lipsync.musetalk.drawing import LATENT, TOKENS, WIDTH
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.networks import LATENT_SCALE

NOTHING = fused.Parts(resnets=False, transformers=False, doubling=False)
DEVICE = torch.device("cuda:0")
LAST = torch.channels_last


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    parts: fused.Parts = fused.ALL
    dtype: torch.dtype = torch.float16
    compiled: bool = False
    fp8: bool = False
    rows: bool = False
    tiny: bool = False
    heuristics: bool = False


VARIANTS = [
    Variant("plain", NOTHING),
    Variant("resnets", fused.Parts(transformers=False, doubling=False)),
    Variant("resnets, transformers", fused.Parts(doubling=False)),
    Variant("all"),
    Variant("all, cuDNN by heuristics", heuristics=True),
    Variant("all, bf16", dtype=torch.bfloat16),
    Variant("all, linear layers in fp8", fp8=True),
    Variant("all, lower rows only from 128 on", rows=True),
    Variant("all, tiny decoder", tiny=True),
    Variant("all, compiled", compiled=True),
    Variant("plain, compiled", NOTHING, compiled=True),
]


class Fp8(nn.Module):
    """A linear layer in FP8 (e4m3), weights scaled once by row, inputs each time by token."""

    MOST = 448.0

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True) / self.MOST
        self.register_buffer("weight", (weight / scale).to(torch.float8_e4m3fn))
        self.register_buffer("scale", scale.T.contiguous())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        scale = flat.abs().amax(1, keepdim=True).float().clamp(min=1e-6) / self.MOST
        small = (flat / scale).to(torch.float8_e4m3fn)
        out = torch._scaled_mm(small, self.weight.T, scale_a=scale, scale_b=self.scale, out_dtype=torch.bfloat16)
        out = out.to(x.dtype).reshape(*x.shape[:-1], -1)
        return out if self.bias is None else out + self.bias


class LowerRows(nn.Module):
    """A decoder that goes on with the rows from 8 above the half downward once its pictures are 128 rows high."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        d = self.decoder
        x = d.mid_block(d.conv_in(z), None)
        for nth, block in enumerate(d.up_blocks):
            x = block(x, None)
            if nth == 1:
                x = x[:, :, 56:].contiguous(memory_format=LAST)
        out: torch.Tensor = d.conv_out(d.conv_act(d.conv_norm_out(x)))
        return F.pad(out, (0, 0, 256 - out.shape[2], 0))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.musetalk_variants")
    parser.add_argument("--sizes", default="8,16")
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--profile", default="", help="variants whose kernels are listed, with ; between")
    parser.add_argument("--only", default="", help="variants, with ; between")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("this needs a GPU", file=sys.stderr)
        return 1
    sizes = [int(size) for size in options.sizes.split(",")]
    peak = product(DEVICE, torch.float16, 1.0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; a product of 8192: {peak / 1e12:.0f} TFLOP/s")
    with tempfile.TemporaryDirectory() as scratch:
        base = musetalk_random.installation(Path(scratch))
        plain = _networks(base)
    torch.manual_seed(1)
    latents, spoken = torch.randn(4, *LATENT, device=DEVICE), torch.randn(4, TOKENS, WIDTH, device=DEVICE)
    with torch.inference_mode():
        exact = _predict(plain[0], latents, spoken)
        picture = plain[1](plain[2](exact / LATENT_SCALE))
    only = [name for name in options.only.split(";") if name]
    for variant in VARIANTS:
        if only and variant.name not in only:
            continue
        try:
            _one(variant, plain, (latents, spoken, exact, picture), sizes, options)
        except Exception:  # noqa: BLE001 - the others are measured all the same
            print(f"\n{variant.name}: cannot be run here\n{traceback.format_exc(limit=-2)}", flush=True)
    return 0


def _networks(base: Path) -> tuple[Any, Any, Any]:
    unet, vae = networks.unet(find(base)).float(), networks.vae(find(base)).float()
    drawing.fold_time(unet)
    return unet.to(DEVICE), vae.decoder.to(DEVICE), vae.post_quant_conv.to(DEVICE)


def _predict(unet: Any, latents: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
    timestep = torch.zeros(1, dtype=torch.long, device=latents.device)
    out: torch.Tensor = unet(latents, timestep, encoder_hidden_states=spoken, return_dict=False)[0]
    return out


def _built(variant: Variant, plain: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    unet, decoder, quant = (copy.deepcopy(network).to(variant.dtype) for network in plain)
    if variant.parts is not NOTHING:
        fused.fuse(unet, variant.parts)
        fused.fuse(decoder, variant.parts)
    if variant.fp8:
        for name, module in list(unet.named_modules()):
            if (
                isinstance(module, nn.Linear)
                and not name.endswith("outer")
                and module.in_features % 16 == 0
                and module.out_features % 16 == 0
            ):
                above, _, own = name.rpartition(".")
                setattr(unet.get_submodule(above), own, Fp8(module))
    if variant.rows:
        decoder = LowerRows(decoder)
    if variant.tiny:
        decoder = AutoencoderTiny().decoder.to(DEVICE, variant.dtype).eval().requires_grad_(False)
    for network in (unet, decoder, quant):
        network.to(memory_format=LAST)
    if variant.compiled:
        unet.compile(dynamic=False)
        decoder.compile(dynamic=False)
    return unet, decoder, quant


@torch.inference_mode()
def _one(variant: Variant, plain: tuple[Any, Any, Any], inputs: Any, sizes: list[int], options: Any) -> None:
    torch.cuda.empty_cache()
    torch.backends.cudnn.benchmark = not variant.heuristics
    unet, decoder, quant = _built(variant, plain)
    latents, spoken, exact, picture = inputs

    def decode(z: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = decoder(quant((z / LATENT_SCALE).contiguous(memory_format=LAST)))
        return out

    began = time.perf_counter()
    predicted = _predict(unet, latents.to(variant.dtype).contiguous(memory_format=LAST), spoken.to(variant.dtype))
    drawn = decode(predicted)
    print(
        f"\n{variant.name}: {time.perf_counter() - began:.1f} s; UNet off by {_error(predicted, exact):.1e}, "
        f"both by {_error(drawn[:, :, 128:], picture[:, :, 128:]):.1e}, PSNR {_psnr(drawn, picture):.1f} dB"
    )
    for size in sizes:
        x = torch.randn((size, *LATENT), device=DEVICE, dtype=variant.dtype).contiguous(memory_format=LAST)
        s = torch.randn((size, TOKENS, WIDTH), device=DEVICE, dtype=variant.dtype)
        z = torch.randn((size, 4, 32, 32), device=DEVICE, dtype=variant.dtype).contiguous(memory_format=LAST)
        first = time.perf_counter()
        works: list[Callable[[], Any]] = [
            recorded(work, DEVICE) for work in (lambda x=x, s=s: _predict(unet, x, s), lambda z=z: decode(z))
        ]
        first = time.perf_counter() - first
        a, b = (seconds_of(work, DEVICE, options.seconds) for work in works)
        print(
            f"  {size:3d}: UNet {a * 1e3:6.2f} ms, VAE {b * 1e3:6.2f} ms, both {size / (a + b):6.1f} fps "
            f"(recorded in {first:.1f} s)",
            flush=True,
        )
        if variant.name in options.profile.split(";") and size == sizes[0]:
            for name, work in zip(("UNet", "VAE"), works, strict=True):
                _kernels(name, work)


def _error(value: torch.Tensor, exact: torch.Tensor) -> float:
    return float((value.float() - exact).norm() / exact.norm())


def _psnr(value: torch.Tensor, exact: torch.Tensor) -> float:
    """Of the lower halves as pictures of 0..255."""
    a, b = ((each[:, :, 128:].float() / 2 + 0.5).clamp(0, 1).mul(255).round() for each in (value, exact))
    return float(10 * torch.log10(255**2 / (a - b).square().mean().clamp(min=1e-9)))


def _kernels(what: str, work: Callable[[], Any]) -> None:
    """The kernels that take most of a replay's time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.device_time_total)
    total = sum(event.device_time_total for event in events)
    print(f"      {what}: {sum(event.count for event in events)} kernels, {total / 1e3:.2f} ms")
    for event in events[:16]:
        print(f"      {event.device_time_total / 1e3:7.3f} ms {event.count:4d} x {event.key[-96:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
