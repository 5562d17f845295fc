"""The rebuilt networks give what the plain ones give; the GPU's kernels are stood in for by what they compute."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.lipsync.musetalk import drawing, networks
from pipeline.lipsync.musetalk.installation import find

SHARED = Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
GOLDEN = SHARED / "musetalk" / "golden"
FUSED = "pipeline.lipsync.musetalk.fused"
KERNELS = "pipeline.lipsync.musetalk.kernels"

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}")


class Kernels(ModuleType):
    """kernels.py in plain PyTorch."""

    def group_norm(
        self, x: Any, groups: int, weight: Any, bias: Any, eps: float, *, silu: bool, before: Any = None
    ) -> Any:
        y = F.group_norm(x if before is None else x + before[:, None, None], groups, weight, bias, eps)
        return F.silu(y) if silu else y

    def plus(self, a: Any, b: Any, bias: Any) -> Any:
        return a + b + bias[:, None, None]

    def interleave(self, x: Any, bias: Any) -> Any:
        pictures, channels, height, width = x.shape[0], x.shape[1] // 4, x.shape[2] - 1, x.shape[3] - 1
        y = torch.empty(pictures, channels, 2 * height, 2 * width)
        for nth, part in enumerate(x.split(channels, 1)):
            down, right = divmod(nth, 2)
            y[:, :, down::2, right::2] = part[:, :, down : down + height, right : right + width]
        return y + bias[:, None, None]

    def gate(self, x: Any) -> Any:
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)

    def add_norm(self, x: Any, h: Any, weight: Any, bias: Any, eps: float) -> Any:
        total = x if h is None else x + h
        return total, F.layer_norm(total, total.shape[-1:], weight, bias, eps)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module over the kernels above, which `sys.modules` holds for its import."""
    monkeypatch.setitem(sys.modules, KERNELS, Kernels(KERNELS))
    monkeypatch.delitem(sys.modules, FUSED, raising=False)
    yield importlib.import_module(FUSED)
    sys.modules.pop(FUSED, None)


@pytest.fixture
def faces() -> Any:
    return drawing._plain(find(GOLDEN), torch.device("cpu"), torch.float32)


def inputs() -> tuple[Any, Any]:
    random = torch.Generator().manual_seed(3)
    return (
        torch.randn((2, *drawing.LATENT), generator=random),
        torch.randn((2, drawing.TOKENS, drawing.WIDTH), generator=random),
    )


@needs_golden
@pytest.mark.shared
@torch.inference_mode()
def test_the_rebuilt_networks_give_the_same_numbers(fused: Any, faces: Any) -> None:
    latents, spoken = inputs()
    exact = faces.predict(latents, spoken)
    picture = faces.vae.decode(exact).sample
    fused.fuse(faces.unet)
    fused.fuse(faces.vae.decoder)
    kinds = [type(module).__name__ for module in faces.modules()]
    assert not {"ResnetBlock2D", "Transformer2DModel", "BasicTransformerBlock", "GEGLU"} & set(kinds)
    assert kinds.count("Resnet") > 10
    assert kinds.count("Block") > 3
    torch.testing.assert_close(faces.predict(latents, spoken), exact, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(faces.vae.decode(exact).sample, picture, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 3), (1, 2)])
@torch.inference_mode()
def test_doubling_is_a_convolution_of_the_doubled_picture(fused: Any, height: int, width: int) -> None:
    from diffusers.models.upsampling import Upsample2D

    plain = Upsample2D(6, use_conv=True, out_channels=6)
    x = torch.randn((2, 6, height, width), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fused.Doubling(plain)(x), plain(x), atol=1e-5, rtol=1e-4)


def test_a_block_of_another_kind_is_refused(fused: Any) -> None:
    from diffusers.models.resnet import ResnetBlock2D

    with pytest.raises(ValueError, match="another kind"):
        fused.Resnet(ResnetBlock2D(in_channels=32, temb_channels=16))


@needs_golden
@pytest.mark.shared
@pytest.mark.usefixtures("fused")
def test_networks_that_agree_are_used(faces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda _: object())
    assert drawing._fuse(faces) is None


@needs_golden
@pytest.mark.shared
@pytest.mark.usefixtures("fused")
def test_networks_that_draw_other_faces_are_not_used(faces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(sys.modules[KERNELS], "plus", lambda a, b, bias: a - b, raising=False)
    assert "grey levels off" in str(drawing._fuse(faces))


@needs_golden
@pytest.mark.shared
@pytest.mark.usefixtures("fused")
def test_kernels_that_cannot_be_built_are_told(faces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no C compiler was found")

    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(sys.modules[KERNELS], "gate", broken, raising=False)
    assert drawing._fuse(faces) == "RuntimeError: no C compiler was found"


@needs_golden
@pytest.mark.shared
def test_without_triton_the_networks_stay_as_they_are(faces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda _: None)
    assert drawing._fuse(faces) == "the package triton is not installed"
    assert isinstance(faces.unet, nn.Module)


@needs_golden
@pytest.mark.shared
def test_weights_are_read_without_making_up_others_first() -> None:
    assert not any(each.is_meta for each in networks.unet(find(GOLDEN)).state_dict().values())
    assert not any(each.is_meta for each in networks.whisper_encoder(find(GOLDEN)).buffers())
