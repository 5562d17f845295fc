"""UNet and VAE as one step from latents and prompts to faces, in fixed batch sizes, each recorded as a CUDA graph."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from pipeline.lipsync.musetalk import networks, prompts
from pipeline.lipsync.musetalk.networks import LATENT_SCALE

log = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}

TOKENS, WIDTH = prompts.AROUND * prompts.LAYERS, prompts.WIDTH
LATENT = (8, 32, 32)
_CLOSE = 0.5
"""Grey levels by which the rebuilt networks' faces may differ from the plain ones' on average; in fp16 it is 0.1."""
_WARM_UP = 3  # runs before a graph is recorded: cuDNN chooses, the allocator settles


class _Faces(nn.Module):
    """(latents [B, 8, 32, 32], prompts [B, 50, 384]) -> RGB [B, 3, 256, 256], whole numbers 0..255, float32."""

    def __init__(self, unet: nn.Module, vae: nn.Module) -> None:
        super().__init__()
        self.unet, self.vae = unet, vae
        self.register_buffer("timestep", torch.zeros(1, dtype=torch.long))

    def predict(self, latents: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, self.timestep, encoder_hidden_states=spoken, return_dict=False)[0]

    def decode(self, predicted: torch.Tensor) -> torch.Tensor:
        images = self.vae.decode(predicted / LATENT_SCALE, return_dict=False)[0]
        # Rounded half to even, as the reference does it.
        return (images.float() / 2 + 0.5).clamp(0, 1).mul(255).round()

    def forward(self, latents: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        return self.decode(self.predict(latents, spoken))


class _Nothing(nn.Module):
    def forward(self, *_: Any) -> None:
        return None


@torch.inference_mode()
def fold_time(unet: Any) -> None:
    """Put the embedding of timestep 0, the only one used, into the biases of the convolutions that it is added to."""
    timestep = torch.zeros(1, dtype=torch.long, device=unet.conv_in.weight.device)
    embedding = unet.time_embedding(unet.time_proj(timestep).to(unet.conv_in.weight.dtype))
    for block in unet.modules():
        project = getattr(block, "time_emb_proj", None)
        if project is not None:
            block.conv1.bias.add_(project(block.nonlinearity(embedding))[0])
            block.time_emb_proj = None
    unet.time_proj, unet.time_embedding = _Zero(), _Nothing()


class _Zero(nn.Module):
    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        return timesteps


class Bucket:
    """One batch size: its inputs stay in place, so that a graph can be recorded over them."""

    def __init__(self, faces: _Faces, size: int, device: torch.device, dtype: torch.dtype, pool: Any) -> None:
        self.size = size
        self.latents = torch.zeros((size, *LATENT), device=device, dtype=dtype)
        self.prompts = torch.zeros((size, TOKENS, WIDTH), device=device, dtype=dtype)
        if device.type == "cuda":
            self.latents = self.latents.to(memory_format=torch.channels_last)
        self._faces = faces
        self._graph: Any = None
        self._out = torch.zeros(0)
        if device.type == "cuda":
            self._record(pool)

    def _record(self, pool: Any) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._faces(self.latents, self.prompts)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._out = self._faces(self.latents, self.prompts)

    def run(self) -> torch.Tensor:
        """Faces of what lies in `latents` and `prompts`; valid until the next run of any bucket."""
        if self._graph is None:
            return self._faces(self.latents, self.prompts)
        self._graph.replay()
        return self._out


class Drawer:
    """Both networks on one device, ready in all sizes. Not thread-safe."""

    def __init__(self, faces: _Faces, device: torch.device, dtype: torch.dtype, sizes: Iterable[int]) -> None:
        self.device, self.dtype = device, dtype
        self.faces = faces
        self.positional = torch.from_numpy(prompts.positional()).to(device, dtype)
        self.costs: dict[int, float] = {}
        with torch.inference_mode():
            pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
            # The largest first: the smaller ones then fit into its memory.
            self._buckets = {size: Bucket(faces, size, device, dtype, pool) for size in sorted(sizes, reverse=True)}
            self.costs = {size: self._measure(bucket) for size, bucket in sorted(self._buckets.items())}

    @torch.inference_mode()
    def draw(self, size: int, latents: list[torch.Tensor], spoken: list[torch.Tensor]) -> torch.Tensor:
        """Up to `size` latents (8, 32, 32) and prompts (50, 384), the positional encoding not yet added.

        Gives RGB [len(latents), 3, 256, 256], whole numbers 0..255 in float32, valid until the next call.
        """
        bucket, count = self._buckets[size], len(latents)
        bucket.latents[:count] = torch.stack(latents)
        bucket.prompts[:count] = torch.stack(spoken) + self.positional
        return bucket.run()[:count]

    def _measure(self, bucket: Bucket) -> float:
        """Seconds that a batch takes, the second fastest of some runs."""
        runs = 5 if self.device.type == "cuda" else 2
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            bucket.run()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return sorted(times)[min(1, len(times) - 1)] if runs > 2 else min(times)


def load(
    installation: Any, device: torch.device, precision: Precision, sizes: Iterable[int], *, fused: bool = True
) -> Drawer:
    """The drawer of an installation. Raises InstallationError.

    fused: on an NVIDIA GPU, rebuild the networks around own kernels, where those can be built and give the same faces.
    """
    dtype = DTYPES[precision]
    faces = _plain(installation, device, dtype)
    if fused and device.type == "cuda":
        why = _fuse(faces)
        if why is not None:
            log.warning("MuseTalk's networks run as they are, which takes twice as long: %s", why)
            faces = _plain(installation, device, dtype)
    return Drawer(faces, device, dtype, sizes)


def _plain(installation: Any, device: torch.device, dtype: torch.dtype) -> _Faces:
    unet, vae = networks.unet(installation).to(device), networks.vae(installation).to(device)
    vae.encoder = None
    fold_time(unet)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    faces: _Faces = _Faces(unet, vae).to(device, dtype, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
    return faces


@torch.inference_mode()
def _fuse(faces: _Faces) -> str | None:
    """Rebuild in place; why the result cannot be used, None: it can."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    from pipeline.lipsync.musetalk import fused

    weight = faces.unet.get_parameter("conv_in.weight")
    random = torch.Generator().manual_seed(0)
    latents = torch.randn((2, *LATENT), generator=random).to(weight).contiguous(memory_format=torch.channels_last)
    spoken = torch.randn((2, TOKENS, WIDTH), generator=random).to(weight)
    before = faces(latents, spoken)
    try:
        fused.fuse(faces.unet)
        fused.fuse(faces.vae.get_submodule("decoder"))
        faces.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        after = faces(latents, spoken)
    except Exception as error:  # no compiler, a GPU that the kernels do not fit, …
        log.debug("the kernels cannot be built", exc_info=True)
        return f"{type(error).__name__}: {error}"
    off = float((after - before).abs().mean())
    return None if off <= _CLOSE else f"its faces would be {off:.1f} grey levels off"
