"""MuseTalk without its weights: a full-size installation of random numbers, and avatars with a made-up face.

Speed does not depend on the values of weights. Sizes are those of the published configurations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from avatars.avatar import Avatar, Faces
from avatars.master import CACHE
from pipeline.lipsync.musetalk import prepared
from pipeline.lipsync.musetalk.settings import MuseTalkSettings

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 384,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
WHISPER: dict[str, Any] = {
    "d_model": 384,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "encoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 16,
    "decoder_layers": 1,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "vocab_size": 64,
}
FEATURES: dict[str, Any] = {
    "chunk_length": 30,
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
}

SIZE = (1280, 720)
FACE = 300  # pixels wide, as a talking head fills a 720p picture


def installation(base: Path) -> Path:
    """Write MuseTalk 1.5 at its real size under `base`, filled with random numbers in fp16 (1.9 GB); gives `base`."""
    torch.manual_seed(0)
    parts = (
        ("musetalkV15/musetalk.json", "musetalkV15/unet.pth", UNET, lambda: UNet2DConditionModel.from_config(UNET)),
        ("sd-vae/config.json", "sd-vae/diffusion_pytorch_model.bin", VAE, lambda: AutoencoderKL.from_config(VAE)),
        ("whisper/config.json", "whisper/pytorch_model.bin", WHISPER, lambda: WhisperEncoder(WhisperConfig(**WHISPER))),
    )
    for config, weights, values, build in parts:
        path = base / "models" / config
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
        prefix = "encoder." if "whisper" in weights else ""
        state = {prefix + name: value.half() for name, value in build().state_dict().items()}
        torch.save(state, base / "models" / weights)
    (base / "models" / "whisper" / "preprocessor_config.json").write_text(json.dumps(FEATURES))
    return base


def avatar(folder: Path, count: int = 50) -> Avatar:
    """A 720p avatar of soft random pictures, prepared with random latents and a mask of a jaw's shape."""
    random = np.random.default_rng(0)
    width, height = SIZE
    folder.mkdir(parents=True)
    frames = np.zeros((count, width * height * 3 // 2), np.uint8)
    faces = []
    for n in range(count):
        small = random.integers(40, 220, (9, 16, 3), np.uint8)
        picture = cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC)
        frames[n] = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).ravel()
        x, y = 480 + n % 7, 150 + n % 5
        soft = np.zeros((round(FACE * 1.2), FACE), np.uint8)
        cv2.ellipse(soft, (FACE // 2, round(FACE * 0.7)), (FACE * 2 // 5, round(FACE * 0.45)), 0, 0, 360, 255, -1)
        soft[: round(FACE * 0.6)] = 0
        faces.append(((x, y, x + FACE, y + soft.shape[0]), cv2.GaussianBlur(soft, (31, 31), 0)))
    frames.tofile(folder / CACHE)
    latents = random.standard_normal((count, *prepared.LATENT)).astype(np.float32)
    made = prepared.build("1.5", MuseTalkSettings().key(), "landmarks", latents, faces)
    prepared.save(made, folder / "musetalk")
    zeros = np.zeros((count, 4))
    known = Faces(np.zeros((count, 468, 3), np.float32), zeros.astype(np.float32), zeros.astype(np.int32))
    return Avatar("bench", folder, width, height, frames, known)
