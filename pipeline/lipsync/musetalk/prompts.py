"""Speech -> MuseTalk's prompts: Whisper's hidden states around each frame, as [50, 384] a frame."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from pipeline.lipsync.musetalk import networks
from pipeline.lipsync.musetalk.installation import Installation, wrong

F32 = NDArray[np.float32]

RATE = 16_000
SEGMENT = 30 * RATE
PER_SECOND = 50  # Whisper's positions a second
LAYERS = 5  # hidden states kept: the inputs of the four layers and the final, normalised one
WIDTH = 384
TOGETHER = (1, 2, 4, 8)
"""Sounds in one call of the encoder: fixed sizes, so that nothing is tuned or launched step by step in mid-speech."""
BEFORE, AROUND = 2, 10  # frame i takes 10 positions: 4 past, 2 of its own, 4 to come (at 25 fps)


class Listener:
    """Turns sound into prompts; one instance for each device. Not thread-safe."""

    def __init__(self, installation: Installation, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self._device, self._dtype = torch.device(device), dtype
        extractor = _extractor(installation)
        self._fft, self._hop = extractor.n_fft, extractor.hop_length
        self._filters = torch.from_numpy(extractor.mel_filters.T).to(self._device, torch.float32)  # (80, 201)
        self._window = torch.hann_window(self._fft, device=self._device)
        self._encoder = networks.whisper_encoder(installation).to(self._device, dtype)
        self._recorded: dict[int, _Recorded] = {}
        if self._device.type == "cuda":
            self._recorded = {size: _Recorded(self._encode, size, self._device, dtype) for size in TOGETHER}

    def features(self, sound: F32) -> F32:
        """Mono float sound at 16 kHz -> (positions, 5, 384), floor(samples / 16000 * 50) positions.

        Segments of 30 s are encoded on their own, each zero-padded to 30 s, as the reference does.
        """
        count = math.floor(len(sound) / RATE * PER_SECOND)
        parts = [self.encode([sound[start : start + SEGMENT]])[0] for start in range(0, len(sound), SEGMENT)]
        return np.concatenate(parts)[:count] if parts else np.zeros((0, LAYERS, WIDTH), np.float32)

    def encode(self, sounds: list[F32]) -> F32:
        """Up to 30 s each, mono at 16 kHz -> (len(sounds), 1500, 5, 384), in one call of the encoder."""
        return np.asarray(self.states(sounds).float().cpu().numpy())

    @torch.inference_mode()
    def states(self, sounds: list[F32]) -> torch.Tensor:
        """The same, left on the device; on a GPU at most TOGETHER[-1] sounds, and this does not wait for what is under
        way there."""
        if not self._recorded:
            return self._encode(self._mel(sounds, len(sounds)).to(self._dtype))
        size = next(size for size in TOGETHER if size >= len(sounds))
        return self._recorded[size].run(self._mel(sounds, size), len(sounds))

    def _encode(self, mel: torch.Tensor) -> torch.Tensor:
        return torch.stack(tuple(self._encoder(mel, output_hidden_states=True).hidden_states), dim=2)

    def _mel(self, sounds: list[F32], size: int) -> torch.Tensor:
        """Whisper's log-mel (size, 80, 3000) of sounds zero-padded to 30 s, and of silence after them, as
        WhisperFeatureExtractor makes it, which would do it by way of the CPU."""
        wave = torch.zeros((size, SEGMENT), device=self._device)
        for row, sound in zip(wave, sounds, strict=False):
            given = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
            if self._device.type == "cuda":
                given = given.pin_memory()  # only from there the copy does not wait for what is under way
            row[: len(given)].copy_(given, non_blocking=True)
        spectrum = torch.stft(wave, self._fft, self._hop, window=self._window, return_complex=True)
        mel = (self._filters @ spectrum[..., :-1].abs().square()).clamp(min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8)
        return (mel + 4) / 4

    def prompts(self, sound: F32, fps: int = 25) -> F32:
        """(frames, 50, 384) of a sound that is known whole, floor(samples / 16000 * fps) frames."""
        return windows(self.features(sound), math.floor(len(sound) / RATE * fps), fps)


def _extractor(installation: Installation) -> WhisperFeatureExtractor:
    try:
        return WhisperFeatureExtractor(**installation.whisper_features)
    except Exception as error:  # it does not check what it is given
        path = installation.whisper_weights.with_name("preprocessor_config.json")
        raise wrong(path, f"cannot be used ({type(error).__name__}: {error})") from error


class _Recorded:
    """The encoder of one size as a CUDA graph."""

    @torch.inference_mode()
    def __init__(
        self, encode: Callable[[torch.Tensor], torch.Tensor], size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._mel = torch.zeros((size, 80, 3000), device=device, dtype=dtype)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                encode(self._mel)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = encode(self._mel)

    def run(self, mel: torch.Tensor, count: int) -> torch.Tensor:
        """mel: (size, 80, 3000) -> (count, 1500, 5, 384)."""
        self._mel.copy_(mel)
        self._graph.replay()
        return self._out[:count].clone()


def windows(features: F32, frames: int, fps: int = 25, first: int = 0) -> F32:
    """Prompts of frames `first` … `first + frames - 1`: 10 positions from floor(i * 50 / fps) of the padded features.

    features: (positions, 5, 384), from the utterance's start. Missing positions on both sides are zero.
    """
    step = PER_SECOND / fps
    pad = math.ceil(step) * BEFORE
    out = np.zeros((frames, AROUND, LAYERS, WIDTH), np.float32)
    for row in range(frames):
        start = math.floor((first + row) * step) - pad
        low, high = max(0, start), min(len(features), start + AROUND)
        if low < high:
            out[row, low - start : high - start] = features[low:high]
    return out.reshape(frames, AROUND * LAYERS, WIDTH)


def positional() -> F32:
    """(50, 384): sine on even, cosine on odd dimensions, rates 10000^(-2k/384) (Vaswani et al. 2017)."""
    position = np.arange(AROUND * LAYERS, dtype=np.float32)[:, None]
    rate = np.exp(np.arange(0, WIDTH, 2, dtype=np.float32) * np.float32(-math.log(10000.0) / WIDTH))
    table = np.zeros((AROUND * LAYERS, WIDTH), np.float32)
    table[:, 0::2] = np.sin(position * rate)
    table[:, 1::2] = np.cos(position * rate)
    return table
