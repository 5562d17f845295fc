"""The three networks, built by diffusers and transformers, filled from the reference's weight files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from pipeline.lipsync.musetalk import weights
from pipeline.lipsync.musetalk.installation import Installation, wrong

LATENT_SCALE = 0.18215
"""Of Stable Diffusion's VAE (Rombach et al. 2022); the file that MuseTalk ships names none."""

# The VAE's file uses the attention names of diffusers before 0.15.
_LEGACY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_LEGACY_NAME = re.compile(r"(attentions\.\d+)\.(query|key|value|proj_attn)\.")


def unet(installation: Installation) -> UNet2DConditionModel:
    """(latents [B, 8, 32, 32], timestep, prompts [B, 50, 384]) -> latents [B, 4, 32, 32]; on the CPU."""
    model = _built(lambda: UNet2DConditionModel.from_config(installation.unet_config), installation.unet_weights)
    return _filled(model, installation.unet_weights, _state(installation.unet_weights))


def vae(installation: Installation) -> AutoencoderKL:
    """Images [B, 3, 256, 256] in -1..1 from and to latents [B, 4, 32, 32]; on the CPU, as in the file."""
    model = _built(lambda: AutoencoderKL.from_config(installation.vae_config), installation.vae_weights)
    state = {
        _LEGACY_NAME.sub(lambda match: f"{match[1]}.{_LEGACY[match[2]]}.", name): value
        for name, value in _state(installation.vae_weights).items()
    }
    for name, value in state.items():
        if re.search(r"attentions\.\d+\.to_", name) and value.ndim == 4:  # 1x1 convolutions in the oldest files
            state[name] = value[:, :, 0, 0]
    return _filled(model, installation.vae_weights, state)


def whisper_encoder(installation: Installation) -> WhisperEncoder:
    """Log-mel [B, 80, 3000] -> hidden states of 1500 positions; on the CPU. The decoder is not built."""
    model = _built(lambda: WhisperEncoder(WhisperConfig(**installation.whisper_config)), installation.whisper_weights)
    state = {
        name.removeprefix("model.").removeprefix("encoder."): value
        for name, value in _state(installation.whisper_weights).items()
        if name.removeprefix("model.").startswith("encoder.")
    }
    return _filled(model, installation.whisper_weights, state)


def _built(make: Callable[[], Any], path: Path) -> Any:
    """A network without its numbers, which come from the file: none are made up first."""
    try:
        with torch.device("meta"):
            return make()
    except Exception as error:  # the libraries check a configuration each in its own way
        reason = f"{type(error).__name__}: {str(error)[:500]}"
        raise wrong(path.parent, f"no network can be built by its configuration ({reason})") from error


def _state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = weights.read(path, mmap=True)
    except weights.WeightsRefused as error:
        raise wrong(path, f"cannot be read as PyTorch weights ({error})") from error
    if not isinstance(state, dict):
        raise wrong(path, "holds no table of weights")
    return state


def _filled(model: Any, path: Path, state: dict[str, torch.Tensor]) -> Any:
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise wrong(path, f"does not fit its configuration: {str(error)[:500]}") from error
    return model.eval().requires_grad_(False)
