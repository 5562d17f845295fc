"""The label map around a face: drawn from landmarks, or by BiSeNet with the real file's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.lipsync.musetalk import blending, parsing

from .made_faces import mesh

BOX = (100, 38, 220, 192)


def _at(labels: np.ndarray, x: float, y: float) -> int:
    left, top, right, _ = blending.crop_box(BOX)
    scale = 512 / (right - left)
    return int(labels[round((y - top) * scale), round((x - left) * scale)])


def test_the_drawn_face_has_its_parts_in_their_places() -> None:
    labels = parsing.draw(BOX, mesh(160, 110))
    assert labels.shape == (512, 512)
    assert set(np.unique(labels)) == {0, 1, 10, 11, 12, 13}
    assert _at(labels, 160, 149) == parsing.MOUTH
    assert _at(labels, 160, 142) == parsing.UPPER_LIP
    assert _at(labels, 160, 157) == parsing.LOWER_LIP
    assert _at(labels, 160, 125) == parsing.NOSE
    assert _at(labels, 160, 176) == parsing.SKIN
    assert _at(labels, 160, 186) == 0  # below the chin


def test_the_mask_of_a_drawn_face_holds_the_mouth_and_the_chin_but_not_the_eyes() -> None:
    pytest.importorskip("PIL", reason="masks need pillow: pip install -r requirements-gpu.txt")
    soft = blending.mask(parsing.draw(BOX, mesh(160, 110)), BOX, "jaw")
    left, top, _, _ = blending.crop_box(BOX)
    assert soft[149 - top, 160 - left] == 255
    assert soft[176 - top, 160 - left] > 200
    assert not soft[92 - top].any()
    inside = np.zeros_like(soft)
    inside[BOX[1] - top : BOX[3] - top, BOX[0] - left : BOX[2] - left] = 1
    assert soft[inside == 1].sum() > 0.9 * soft.sum()


def test_the_cheek_width_sets_how_wide_the_chin_is_kept() -> None:
    labels = parsing.draw(BOX, mesh(160, 110))
    wide = np.count_nonzero(blending.region(labels, "jaw", 120))
    assert (
        np.count_nonzero(blending.region(labels, "jaw", 60)) < np.count_nonzero(blending.region(labels, "jaw")) < wide
    )


class TestBiSeNet:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

    def _weights(self, path: Path) -> Path:
        import torch

        from pipeline.lipsync.musetalk.bisenet import BiSeNet

        torch.manual_seed(5)
        torch.save(BiSeNet().state_dict(), path)
        return path

    def test_names_and_sizes_are_those_of_79999_iter_pth(self) -> None:
        from pipeline.lipsync.musetalk.bisenet import BiSeNet

        state = BiSeNet().state_dict()
        expected = _names_of_the_real_file()
        assert {name: tuple(value.shape) for name, value in state.items()} == expected

    def test_the_weights_go_through_the_file_and_give_classes(self, tmp_path: Path) -> None:
        from pipeline.lipsync.musetalk.bisenet import BiSeNetParser

        parser = BiSeNetParser(self._weights(tmp_path / "net.pth"))
        frames = [np.random.default_rng(n).integers(0, 255, (256, 320, 3), np.uint8) for n in range(2)]
        first = parser.labels(frames, [BOX, (0, 0, 120, 150)], np.zeros((2, 468, 3), np.float32))
        again = parser.labels(frames[:1], [BOX], np.zeros((1, 468, 3), np.float32))
        assert [labels.shape for labels in first] == [(512, 512)] * 2
        assert all(labels.dtype == np.uint8 and labels.max() < 19 for labels in first)
        assert np.mean(first[0] == again[0]) > 0.999

    def test_a_file_without_the_counters_of_batch_norm_loads(self, tmp_path: Path) -> None:
        import torch

        from pipeline.lipsync.musetalk.bisenet import load

        state = torch.load(self._weights(tmp_path / "net.pth"), weights_only=True)
        torch.save({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "old.pth")
        load(tmp_path / "old.pth")

    def test_other_files_are_refused_by_name(self, tmp_path: Path) -> None:
        import torch

        from pipeline.lipsync.musetalk.bisenet import load
        from pipeline.lipsync.musetalk.installation import InstallationError

        state = torch.load(self._weights(tmp_path / "net.pth"), weights_only=True)
        del state["ffm.conv1.weight"]
        torch.save(state, tmp_path / "net.pth")
        with pytest.raises(InstallationError, match=r"net\.pth: does not fit BiSeNet: ffm\.conv1\.weight"):
            load(tmp_path / "net.pth")
        (tmp_path / "net.pth").write_bytes(b"no weights")
        with pytest.raises(InstallationError, match="cannot be read"):
            load(tmp_path / "net.pth")
        torch.save([1, 2], tmp_path / "net.pth")
        with pytest.raises(InstallationError, match="does not fit BiSeNet"):
            load(tmp_path / "net.pth")

    def test_the_crop_is_black_outside_the_frame(self) -> None:
        from pipeline.lipsync.musetalk.bisenet import crop

        picture = crop(np.full((256, 320, 3), (10, 20, 30), np.uint8), (0, 0, 120, 150))
        assert picture[0, 0].tolist() == [0, 0, 0]
        assert picture[256, 256].tolist() == [30, 20, 10]


def _names_of_the_real_file() -> dict[str, tuple[int, ...]]:
    """Written down from the published file: every tensor's name and shape."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{part}"] = (channels,)
        found[f"{name}.num_batches_tracked"] = ()

    def block(name: str, inside: int, out: int, kernel: int = 3) -> None:
        found[f"{name}.conv.weight"] = (out, inside, kernel, kernel)
        norm(f"{name}.bn", out)

    found["cp.resnet.conv1.weight"] = (64, 3, 7, 7)
    norm("cp.resnet.bn1", 64)
    inside = 64
    for layer, out in enumerate((64, 128, 256, 512), 1):
        for n in range(2):
            name = f"cp.resnet.layer{layer}.{n}"
            found[f"{name}.conv1.weight"] = (out, inside, 3, 3)
            norm(f"{name}.bn1", out)
            found[f"{name}.conv2.weight"] = (out, out, 3, 3)
            norm(f"{name}.bn2", out)
            if inside != out:
                found[f"{name}.downsample.0.weight"] = (out, inside, 1, 1)
                norm(f"{name}.downsample.1", out)
            inside = out
    for arm, channels in (("cp.arm16", 256), ("cp.arm32", 512)):
        block(f"{arm}.conv", channels, 128)
        found[f"{arm}.conv_atten.weight"] = (128, 128, 1, 1)
        norm(f"{arm}.bn_atten", 128)
    block("cp.conv_head32", 128, 128)
    block("cp.conv_head16", 128, 128)
    block("cp.conv_avg", 512, 128, 1)
    block("ffm.convblk", 256, 256, 1)
    found["ffm.conv1.weight"] = (64, 256, 1, 1)
    found["ffm.conv2.weight"] = (256, 64, 1, 1)
    for head, channels, middle in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        block(f"{head}.conv", channels, middle)
        found[f"{head}.conv_out.weight"] = (19, middle, 1, 1)
    return found
