"""What an avatar prepared for MuseTalk holds, on disk and in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.lipsync.musetalk import prepared as data


def _mask(box: data.Box, seed: int = 0) -> np.ndarray:
    """Zero above the middle, random below, zero again at the rim."""
    x0, y0, x1, y1 = box
    soft = np.zeros((y1 - y0, x1 - x0), np.uint8)
    soft[len(soft) // 2 : -3, 5:-4] = np.random.default_rng(seed).integers(1, 256, soft.shape)[
        len(soft) // 2 : -3, 5:-4
    ]
    return soft


def _made(key: str = "k") -> data.Prepared:
    boxes: list[data.Box] = [(11, 20, 84, 113), (12, 21, 84, 114)]
    latents = np.random.default_rng(1).normal(size=(3, 8, 32, 32)).astype(np.float32)
    return data.build(
        "1.5", key, "landmarks", latents, [(boxes[0], _mask(boxes[0])), None, (boxes[1], _mask(boxes[1], 2))]
    )


def test_the_patch_holds_exactly_what_can_change_and_is_even() -> None:
    made = _made()
    for n in (0, 2):
        box = made.box(n)
        x, y, w, h = made.patch(n)
        assert not any(value % 2 for value in (x, y, w, h))
        whole = np.zeros((130, 100), np.uint8)
        whole[box[1] : box[3], box[0] : box[2]] = _mask(box, n)
        assert np.array_equal(made.patch_mask(n), whole[y : y + h, x : x + w])
        assert np.count_nonzero(made.patch_mask(n)) == np.count_nonzero(whole)
        assert np.array_equal(made.mask(n), _mask(box, n))
        for smaller in (
            np.s_[y + 2 : y + h, x : x + w],
            np.s_[y : y + h - 2, x : x + w],
            np.s_[y : y + h, x + 2 : x + w],
        ):
            assert np.count_nonzero(whole[smaller]) < np.count_nonzero(whole)


def test_a_frame_without_a_face_keeps_its_place() -> None:
    made = _made()
    assert [made.usable(n) for n in range(3)] == [True, False, True]
    assert made.patch(1) == made.box(1) == (0, 0, 0, 0)
    assert made.patch_mask(1).size == made.mask(1).size == 0
    assert made.count == len(made.latents) == 3


def test_a_mask_at_the_frame_s_edges_stays_inside() -> None:
    box = (0, 0, 64, 48)
    soft = np.full((48, 64), 255, np.uint8)
    made = data.build("1.0", "k", "bisenet", np.zeros((1, 8, 32, 32), np.float32), [(box, soft)])
    assert made.patch(0) == (0, 0, 64, 48)


def test_saved_data_come_back_read_only(tmp_path: Path) -> None:
    made = _made()
    data.save(made, tmp_path / "musetalk")
    back = data.load(tmp_path / "musetalk", "k", 3)
    assert (back.version, back.key, back.parsing) == ("1.5", "k", "landmarks")
    for name in ("latents", "boxes", "patches", "masks", "offsets"):
        assert np.array_equal(getattr(back, name), getattr(made, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(back, name)[:] = 0
    assert [path.name for path in (tmp_path / "musetalk").iterdir()] == [data.FILE]


def test_what_cannot_be_used_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(data.NotPrepared, match="missing"):
        data.load(tmp_path)
    data.save(_made(), tmp_path)
    with pytest.raises(data.NotPrepared, match="other settings"):
        data.load(tmp_path, "another")
    with pytest.raises(data.NotPrepared, match="3 frames, not 4"):
        data.load(tmp_path, "k", 4)
    whole = (tmp_path / data.FILE).read_bytes()
    (tmp_path / data.FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.NotPrepared, match="damaged"):
        data.load(tmp_path)
    (tmp_path / data.FILE).write_bytes(b"")
    with pytest.raises(data.NotPrepared, match="damaged"):
        data.load(tmp_path)


def test_a_file_damaged_anywhere_is_not_prepared(tmp_path: Path) -> None:
    data.save(_made(), tmp_path)
    whole = (tmp_path / data.FILE).read_bytes()
    heads = [at for at in range(len(whole)) if whole[at : at + 2] == b"PK"]  # where the archive describes itself
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(250):
        broken = bytearray(whole)
        for at in rng.choice(heads, 2):
            broken[min(at + rng.integers(200), len(broken) - 1)] = rng.integers(256)
        (tmp_path / data.FILE).write_bytes(broken)
        try:
            data.load(tmp_path, "k", 3)
        except data.NotPrepared:
            refused += 1
    assert refused > 100
    with (tmp_path / data.FILE).open("wb") as file:
        np.save(file, np.zeros(3))  # a file of NumPy's, but of another kind
    with pytest.raises(data.NotPrepared, match="damaged"):
        data.load(tmp_path)


@pytest.mark.parametrize("change", ["format", "masks", "pickle"])
def test_data_of_another_make_are_not_prepared(tmp_path: Path, change: str) -> None:
    data.save(_made(), tmp_path)
    with np.load(tmp_path / data.FILE) as file:
        members = dict(file)
    if change == "format":
        members["meta"] = np.frombuffer(json.dumps({"format": 0}).encode(), np.uint8)
    elif change == "masks":
        members["masks"] = members["masks"][:-1]
    else:
        members["boxes"] = np.array([[print]], object)
    np.savez(tmp_path / data.FILE, **members)
    with pytest.raises(data.NotPrepared):
        data.load(tmp_path)


def test_masks_and_latents_that_do_not_fit_are_refused() -> None:
    latents = np.zeros((1, 8, 32, 32), np.float32)
    with pytest.raises(ValueError, match="does not fit the face box"):
        data.build("1.5", "k", "landmarks", latents, [((0, 0, 10, 10), np.zeros((9, 10), np.uint8))])
    with pytest.raises(ValueError, match="do not fit 2 frames"):
        data.build("1.5", "k", "landmarks", latents, [None, None])
