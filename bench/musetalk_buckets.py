"""What one device does with batches of each size, and the plain loop that people use today, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from avatars.avatar import Avatar
from pipeline.lipsync.musetalk import blending, colour, drawing, networks, prepared
from pipeline.lipsync.musetalk.drawing import LATENT, TOKENS, WIDTH, Drawer
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.networks import LATENT_SCALE
from pipeline.lipsync.musetalk.stage import Blender, Stage

PLAIN_BATCH = 20


@dataclass(frozen=True, slots=True)
class Speeds:
    """Frames a second of one batch size."""

    size: int
    unet: float
    vae: float
    both: float
    patches: float  # with blend, and the copy of the patches to the CPU


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device, at_least: float) -> float:
    """Of one call, over as many as fill `at_least` seconds, after one that does not count."""
    work()
    wait(device)
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < at_least:
        work()
        wait(device)
        calls += 1
    return (time.perf_counter() - began) / calls


def recorded(work: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """On a GPU the work as a CUDA graph, so that launching does not count; elsewhere as it is."""
    if device.type != "cuda":
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@torch.inference_mode()
def speeds(drawer: Drawer, avatar: Avatar, at_least: float) -> list[Speeds]:
    """All sizes of a drawer."""
    device, dtype = drawer.device, drawer.dtype
    stage = Stage(prepared.load(avatar.path / "musetalk"), avatar.frames, avatar.width, avatar.height, device, dtype)
    blender = Blender(device)
    out = []
    for size in drawer.costs:
        latents = torch.zeros((size, *LATENT), device=device, dtype=dtype)
        spoken = torch.zeros((size, TOKENS, WIDTH), device=device, dtype=dtype)
        predicted = torch.zeros((size, 4, 32, 32), device=device, dtype=dtype)
        if device.type == "cuda":
            latents = latents.to(memory_format=torch.channels_last)
            predicted = predicted.to(memory_format=torch.channels_last)
        unet = recorded(lambda a=latents, b=spoken: drawer.faces.predict(a, b), device)
        vae = recorded(lambda a=predicted: drawer.faces.decode(a), device)
        frames = [n % avatar.count for n in range(size)]
        window = torch.zeros((TOKENS, WIDTH), device=device, dtype=dtype)
        host = torch.zeros((size, stage.bytes), dtype=torch.uint8, pin_memory=device.type == "cuda")

        def draw(size: int = size, frames: list[int] = frames, window: torch.Tensor = window) -> torch.Tensor:
            return drawer.draw(size, [stage.latents[n] for n in frames], [window] * size)

        def patches(
            draw: Callable[[], torch.Tensor] = draw, frames: list[int] = frames, host: torch.Tensor = host
        ) -> None:
            host.copy_(blender.lay(draw(), [(stage, n) for n in frames], [1.0] * len(frames)), non_blocking=True)

        took = [seconds_of(work, device, at_least) for work in (unet, vae, draw, patches)]
        out.append(Speeds(size, *(size / each for each in took)))
        del unet, vae
    return out


@torch.inference_mode()
def plain_loop(base: Path, avatar: Avatar, device: torch.device, at_least: float) -> float:
    """Frames a second of the loop that people use today: eager fp16 (fp32 on a CPU), batches of 20 decoded to the CPU
    in float, and each whole frame blended by PIL on one thread.
    """
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    unet = networks.unet(find(base)).to(device, dtype)
    vae = networks.vae(find(base)).to(device, dtype)
    data = prepared.load(avatar.path / "musetalk")
    batch = PLAIN_BATCH if device.type == "cuda" else 4  # a CPU gains nothing by more, and the run stays short
    frames = [colour.bgr(avatar, n) for n in range(min(batch, avatar.count))]
    boxes = [data.box(n % len(frames)) for n in range(batch)]
    crops = [blending.crop_box(box) for box in boxes]
    masks = []
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        left, top, right, bottom = crops[n]
        whole = np.zeros((bottom - top, right - left), np.uint8)
        whole[y0 - top : y1 - top, x0 - left : x1 - left] = data.mask(n % len(frames))
        masks.append(Image.fromarray(whole))
    latents = torch.from_numpy(data.latents[np.arange(batch) % data.count]).to(device, dtype)
    spoken = torch.zeros((batch, TOKENS, WIDTH), device=device, dtype=dtype)
    timestep = torch.tensor([0], device=device)

    def once() -> None:
        predicted = unet(latents, timestep, encoder_hidden_states=spoken).sample
        images = vae.decode(predicted / LATENT_SCALE).sample
        images = (images / 2 + 0.5).clamp(0, 1).detach().cpu().permute(0, 2, 3, 1).float().numpy()
        for n, image in enumerate((images * 255).round().astype("uint8")[..., ::-1]):
            x0, y0, x1, y1 = boxes[n]
            face = cv2.resize(np.ascontiguousarray(image), (x1 - x0, y1 - y0))
            body = Image.fromarray(frames[n % len(frames)][:, :, ::-1].copy())
            large = body.crop(crops[n])
            large.paste(Image.fromarray(face[:, :, ::-1].copy()), (x0 - crops[n][0], y0 - crops[n][1]))
            body.paste(large, crops[n][:2], masks[n])
            np.array(body)[:, :, ::-1].copy()

    return batch / seconds_of(once, device, at_least)


@torch.inference_mode()
def flops(drawer: Drawer) -> float:
    """Floating point operations of one frame, counted."""
    latents = torch.zeros((1, *LATENT), device=drawer.device, dtype=drawer.dtype)
    spoken = torch.zeros((1, TOKENS, WIDTH), device=drawer.device, dtype=drawer.dtype)
    with FlopCounterMode(display=False) as counter:
        drawer.faces(latents, spoken)
    return float(counter.get_total_flops())


@torch.inference_mode()
def product(device: torch.device, dtype: torch.dtype, at_least: float) -> float:
    """Operations a second that a large matrix product reaches."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, at_least)


def drawer_of(base: Path, device: torch.device, sizes: tuple[int, ...]) -> Drawer:
    return drawing.load(find(base), device, "fp16" if device.type == "cuda" else "fp32", sizes)
