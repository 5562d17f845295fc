"""Preparing an avatar with the tiny golden network: aligned, repeatable, cancelled cleanly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

import torch

from pipeline.lipsync.musetalk import blending, colour, latents, networks, parsing, prepared
from pipeline.lipsync.musetalk.boxes import boxes
from pipeline.lipsync.musetalk.installation import find
from pipeline.lipsync.musetalk.prepare import FOLDER, Preparer, on_box, prepare
from pipeline.lipsync.musetalk.settings import MuseTalkSettings

from .made_faces import avatar, mesh
from .test_golden import GOLDEN

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]
V15 = MuseTalkSettings()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def preparer() -> Preparer:
    return Preparer(find(GOLDEN), batch=2)


LANDMARKS = np.stack([mesh(150 + 2 * n, 110 + n) for n in range(5)])


def test_latents_boxes_and_masks_are_those_of_the_frames(tmp_path: Path, preparer: Preparer) -> None:
    subject = avatar(tmp_path, LANDMARKS)
    told: list[float] = []
    made = preparer.prepare(subject, V15, told.append)
    assert told[0] == 0.0
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert len(told) == 5
    expected = boxes(LANDMARKS, 320, 256, V15)
    assert np.array_equal(made.boxes, expected)
    vae = networks.vae(find(GOLDEN))
    for n in (0, 4):
        box = made.box(n)
        alone = latents.encode(vae, latents.crops([colour.bgr(subject, n)], [box])).numpy()[0]
        assert np.abs(made.latents[n] - alone).max() < 1e-4
        soft = blending.mask(parsing.draw(box, LANDMARKS[n]), box, "jaw")
        assert np.array_equal(made.mask(n), on_box(soft, box))
    assert (made.version, made.parsing, made.key) == ("1.5", "landmarks", V15.key())


def test_what_is_prepared_is_on_disk_and_the_same_the_next_time(tmp_path: Path, preparer: Preparer) -> None:
    subject = avatar(tmp_path, LANDMARKS[:3])
    made = preparer.prepare(subject, V15, lambda _: None)
    first = (tmp_path / FOLDER / prepared.FILE).read_bytes()
    back = prepared.load(tmp_path / FOLDER, V15.key(), 3)
    assert np.array_equal(back.latents, made.latents)
    preparer.prepare(subject, V15, lambda _: None)
    again = prepared.load(tmp_path / FOLDER)
    for field in ("latents", "boxes", "patches", "masks"):
        assert np.array_equal(getattr(again, field), getattr(back, field))
    assert len(first) == (tmp_path / FOLDER / prepared.FILE).stat().st_size


def test_a_frame_without_a_face_keeps_everything_aligned(tmp_path: Path, preparer: Preparer) -> None:
    landmarks = LANDMARKS.copy()
    landmarks[2] = mesh(150, 110, size=10)
    landmarks[2, :, :2] += 100  # a cut, so that the neighbours' boxes keep their size
    made = preparer.prepare(avatar(tmp_path, landmarks), V15, lambda _: None)
    assert [made.usable(n) for n in range(5)] == [True, True, False, True, True]
    assert not made.latents[2].any()
    assert made.latents[3].any()


def test_too_large_a_batch_for_the_device_is_taken_in_parts(
    tmp_path: Path, preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = preparer.prepare(avatar(tmp_path / "a", LANDMARKS), V15, lambda _: None)
    encode = latents.encode

    def small(vae: torch.nn.Module, faces: torch.Tensor) -> torch.Tensor:
        if len(faces) > room:
            raise torch.OutOfMemoryError("no memory for it")
        return encode(vae, faces)

    monkeypatch.setattr(latents, "encode", small)
    room = 1
    made = preparer.prepare(avatar(tmp_path / "b", LANDMARKS), V15, lambda _: None)
    assert np.abs(made.latents - expected.latents).max() < 1e-4
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        preparer.prepare(avatar(tmp_path / "c", LANDMARKS), V15, lambda _: None)


def test_no_face_at_all_is_prepared_too(tmp_path: Path, preparer: Preparer) -> None:
    made = preparer.prepare(avatar(tmp_path, np.stack([mesh(150, 110, size=10)])), V15, lambda _: None)
    assert not made.usable(0)


def test_a_cancelled_preparation_leaves_what_was_there(tmp_path: Path, preparer: Preparer) -> None:
    subject = avatar(tmp_path, LANDMARKS)
    before = preparer.prepare(subject, V15, lambda _: None)

    class Cancelled(Exception):
        pass

    def stop(value: float) -> None:
        if value > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        preparer.prepare(subject, MuseTalkSettings(extra_margin=20), stop)
    assert prepared.load(tmp_path / FOLDER).key == before.key
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [prepared.FILE]


def test_v10_and_bisenet_where_its_weights_are(tmp_path: Path) -> None:
    import torch

    from pipeline.lipsync.musetalk.bisenet import BiSeNet

    torch.manual_seed(1)
    torch.save(BiSeNet().state_dict(), tmp_path / "net.pth")
    installation = dataclasses.replace(find(GOLDEN, "1.0"), parser_weights=tmp_path / "net.pth")
    settings = MuseTalkSettings(version="1.0", bbox_shift=3)
    made = prepare(avatar(tmp_path, LANDMARKS[:1]), installation, settings)
    assert (made.version, made.parsing) == ("1.0", "bisenet")
    with pytest.raises(ValueError, match=r"an installation of 1\.0"):
        prepare(avatar(tmp_path, LANDMARKS[:1]), installation, V15)


def test_the_parser_s_weights_are_found_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for entry in (GOLDEN / "models").iterdir():
        (tmp_path / "models" / entry.name).symlink_to(entry)
    assert find(tmp_path).parser_weights is None
    (tmp_path / "models/face-parse-bisent").mkdir()
    (tmp_path / "models/face-parse-bisent/79999_iter.pth").write_bytes(b"x")
    assert find(tmp_path).parser_weights == tmp_path / "models/face-parse-bisent/79999_iter.pth"
