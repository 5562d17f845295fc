"""Avatars of the reference's scripts are taken over; folders that are none are refused with a reason."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

import torch

import run
from avatars import models
from avatars.avatar import Avatar, Faces
from avatars.record import AvatarRecord
from avatars.store import AvatarStore
from pipeline.lipsync.musetalk import blending, prepared
from pipeline.lipsync.musetalk.reference_avatar import ImportRefused, prepare, read, write_clip
from pipeline.lipsync.musetalk.settings import MuseTalkSettings, of_avatar

from .made_faces import GOLDEN

BOX = (40, 20, 110, 100)
MEDIA = GOLDEN.parents[1] / "media" / "idle-woman-1280x720-30fps.mp4"


def reference_folder(
    folder: Path,
    pictures: list[np.ndarray],
    boxes: list[Any],
    *,
    doubled: bool = True,
    info: dict[str, Any] | None = None,
) -> Path:
    """What realtime_inference.py leaves behind: everything forward and backward, no latents for placeholders."""
    random = np.random.default_rng(11)
    for name in ("full_imgs", "mask"):
        (folder / name).mkdir(parents=True)
    latents = [torch.from_numpy(random.normal(size=(1, 8, 32, 32)).astype(np.float16)) for box in boxes if any(box)]
    masks = []
    for box in boxes:
        left, top, right, bottom = blending.crop_box(tuple(int(v) for v in box)) if any(box) else (0, 0, 8, 8)
        soft = np.zeros((bottom - top, right - left), np.uint8)
        soft[len(soft) // 2 : -10, 20:-20] = random.integers(1, 255, soft.shape)[len(soft) // 2 : -10, 20:-20]
        masks.append(([left, top, right, bottom], soft))
    if doubled:
        pictures, boxes, masks, latents = (one + one[::-1] for one in (pictures, boxes, masks, latents))
    for n, (picture, (_, soft)) in enumerate(zip(pictures, masks, strict=True)):
        cv2.imwrite(str(folder / f"full_imgs/{n:08d}.png"), picture)
        cv2.imwrite(str(folder / f"mask/{n:08d}.png"), soft)
    (folder / "coords.pkl").write_bytes(pickle.dumps(boxes))
    (folder / "mask_coords.pkl").write_bytes(pickle.dumps([crop for crop, _ in masks]))
    torch.save(latents, folder / "latents.pt")
    if info is not None:
        (folder / "avator_info.json").write_text(json.dumps(info))
    return folder


def _pictures(count: int, width: int = 160, height: int = 120) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.integers(0, 255, (height, width, 3), np.uint8) for _ in range(count)]


def _boxes(count: int) -> list[Any]:
    """As the reference has them: NumPy's numbers beside Python's."""
    x0, y0, x1, y1 = BOX
    return [(np.int32(x0 + n), y0, np.int32(x1 + n), np.int64(y1)) for n in range(count)]


def _avatar(folder: Path, count: int, width: int, height: int) -> Avatar:
    frames = np.zeros((count, width * height * 3 // 2), np.uint8)
    faces = Faces(
        np.zeros((count, 468, 3), np.float32), np.zeros((count, 4), np.float32), np.zeros((count, 4), np.int32)
    )
    return Avatar("made", folder, width, height, frames, faces)


def test_the_forward_half_is_taken_over_with_its_own_data(tmp_path: Path) -> None:
    folder = reference_folder(tmp_path / "ref", _pictures(3), _boxes(3), info={"version": "v15", "bbox_shift": -7})
    source = read(folder)
    assert (source.doubled, len(source.pictures), source.version, source.bbox_shift) == (True, 3, "1.5", -7)
    made = prepare(source, _avatar(tmp_path, 3, 160, 120), "1.5", "k")
    given = torch.load(folder / "latents.pt", weights_only=True)
    for n in range(3):
        assert made.box(n) == (BOX[0] + n, BOX[1], BOX[2] + n, BOX[3])
        assert np.array_equal(made.latents[n], given[n][0].float().numpy())
        left, top, _, _ = blending.crop_box(made.box(n))
        soft = cv2.imread(str(folder / f"mask/{n:08d}.png"), cv2.IMREAD_GRAYSCALE)
        x0, y0, x1, y1 = made.box(n)
        assert np.array_equal(made.mask(n), soft[y0 - top : y1 - top, x0 - left : x1 - left])
    assert made.parsing == "imported"


def test_a_folder_that_was_not_doubled_is_taken_whole(tmp_path: Path) -> None:
    source = read(reference_folder(tmp_path / "ref", _pictures(4), _boxes(4), doubled=False))
    assert (source.doubled, len(source.pictures)) == (False, 4)


def test_frames_without_a_face_stay_aligned(tmp_path: Path) -> None:
    boxes = _boxes(4)
    boxes[1] = (0.0, 0.0, 0.0, 0.0)
    folder = reference_folder(tmp_path / "ref", _pictures(4), boxes)
    made = prepare(read(folder), _avatar(tmp_path, 4, 160, 120), "1.5", "k")
    assert [made.usable(n) for n in range(4)] == [True, False, True, True]
    given = torch.load(folder / "latents.pt", weights_only=True)
    assert np.array_equal(made.latents[2], given[1][0].float().numpy())
    assert np.array_equal(made.latents[3], given[2][0].float().numpy())


def test_boxes_and_masks_are_scaled_with_the_frames(tmp_path: Path) -> None:
    source = read(reference_folder(tmp_path / "ref", _pictures(2, 320, 240), [(80, 40, 220, 200)] * 2))
    made = prepare(source, _avatar(tmp_path, 1, 160, 120), "1.5", "k")
    assert made.count == 1
    assert made.box(0) == (40, 20, 110, 100)
    whole = prepare(source, _avatar(tmp_path, 2, 320, 240), "1.5", "k").mask(0)
    assert abs(float(made.mask(0).mean()) - float(whole.mean())) < 1.0


def test_a_box_that_leaves_the_picture_is_cut_off_as_the_reference_does(tmp_path: Path) -> None:
    source = read(reference_folder(tmp_path / "ref", _pictures(2), [(90, 60, 170, 130), (-5, 20, 60, 90)]))
    assert source.boxes == ((90, 60, 160, 120), None)


def test_the_clip_is_lossless(tmp_path: Path) -> None:
    import av

    pictures = [cv2.GaussianBlur(picture, (0, 0), 3) for picture in _pictures(3, 161, 121)]
    source = read(reference_folder(tmp_path / "ref", pictures, _boxes(3)))
    write_clip(source, tmp_path / "clip.mkv")
    with av.open(str(tmp_path / "clip.mkv")) as clip:
        got = [frame.to_ndarray(format="bgr24") for frame in clip.decode(video=0)]
    assert len(got) == 3
    for picture, frame in zip(pictures, got, strict=True):
        assert np.abs(picture.astype(int) - frame).max() <= 4  # 8-bit YUV there and back


class _Runs:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _pickled(name: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(pickle.dumps(value)) and None


def _saved(value: Any) -> Callable[[Path], None]:
    return lambda folder: torch.save(value, folder / "latents.pt")


def _picture(name: str, width: int, height: int) -> Callable[[Path], None]:
    return lambda folder: cv2.imwrite(str(folder / name), np.zeros((height, width, 3), np.uint8)) and None


LATENT = torch.zeros(1, 8, 32, 32)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_without("coords.pkl"), r"coords\.pkl is missing"),
        (_without("latents.pt"), r"latents\.pt is missing"),
        (_without("full_imgs/00000001.png"), r"mask: is for 4 frames, but full_imgs/ holds 3"),
        (_pickled("coords.pkl", [(1, 2, 3, 4)]), r"coords\.pkl: is for 1 frames"),
        (_pickled("coords.pkl", [(1, 2, 3)] * 4), r"coords\.pkl: frame 0 has no box of four numbers"),
        (_pickled("coords.pkl", [(1, 2, 3, float("nan"))] * 4), r"coords\.pkl: frame 0 has no box"),
        (_pickled("coords.pkl", 5), r"coords\.pkl: holds no list of boxes"),
        (_pickled("mask_coords.pkl", {"a": 1}), r"mask_coords\.pkl: it holds a dict"),
        (_pickled("mask_coords.pkl", [(0, 0, 9, 9)] * 4), r"mask/00000000\.png: is not of the size"),
        (_saved([LATENT] * 3), r"latents\.pt: holds 3 latents for 4 faces"),
        (_saved([torch.zeros(1, 4, 32, 32)] * 4), r"latents\.pt: latent 0 has the shape \(1, 4, 32, 32\)"),
        (_saved([LATENT / 0] * 4), r"latents\.pt: holds values that are no numbers"),
        (_saved({"a": LATENT}), r"latents\.pt: holds 0 latents"),
        (lambda folder: (folder / "latents.pt").write_bytes(b"x"), r"latents\.pt: cannot be read as tensors"),
        (lambda folder: (folder / "full_imgs/00000000.png").write_bytes(b"x"), r"00000000\.png: is no PNG picture"),
        (lambda folder: (folder / "full_imgs/face.png").write_bytes(b"x"), r"face\.png: its name is no number"),
        (_picture("full_imgs/00000002.png", 150, 120), r"full_imgs: the pictures are not all of one size"),
        (lambda folder: (folder / "avator_info.json").write_text("["), r"avator_info\.json: cannot be read"),
    ],
)
def test_a_folder_that_is_none_is_refused_with_a_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = reference_folder(tmp_path / "ref", _pictures(2), _boxes(2))
    read(folder)
    damage(folder)
    with pytest.raises(ImportRefused, match=reason):
        read(folder)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    folder = reference_folder(tmp_path / "ref", _pictures(2), _boxes(2))
    picture = folder / "full_imgs/00000000.png"
    data = bytearray(picture.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    picture.write_bytes(data)
    with pytest.raises(ImportRefused, match="60000x60000"):
        read(folder)


@pytest.mark.parametrize("name", ["coords.pkl", "mask_coords.pkl", "latents.pt"])
def test_a_malicious_file_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    folder = reference_folder(tmp_path / "ref", _pictures(2), _boxes(2))
    witness = tmp_path / "it-ran"
    evil = [_Runs(witness), *_boxes(3)]
    if name == "latents.pt":
        torch.save(evil, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(evil))
    with pytest.raises(ImportRefused, match=name.replace(".", r"\.")) as refused:
        read(folder)
    assert not witness.exists()
    assert "weights_only" not in str(refused.value)  # torch advises to load it regardless


def _woman(count: int) -> list[np.ndarray]:
    import av

    if not MEDIA.is_file():
        pytest.skip(f"the real clips are missing: {MEDIA}")
    try:
        models.find()
    except models.ModelsMissing as error:
        pytest.skip(str(error))
    with av.open(str(MEDIA)) as clip:
        frames = (frame.reformat(640, 360, "bgr24").to_ndarray() for frame in clip.decode(video=0))
        return [frame for frame, _ in zip(frames, range(count), strict=False)]


@pytest.mark.shared
def test_the_command_makes_an_ordinary_avatar_with_the_folder_s_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = _woman(27)
    boxes = [(327, 52 + n % 2, 438, 202) for n in range(27)]
    folder = reference_folder(tmp_path / "ref", pictures, boxes, info={"bbox_shift": 5, "version": "v1"})
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    monkeypatch.setenv("LECTERN_MUSETALK__VERSION", "1.0")
    assert run.main(["avatar", "import", "ada", str(folder)]) == 0, capsys.readouterr().err
    assert "27 frames of 640x360, for MuseTalk 1.0" in capsys.readouterr().out

    store = AvatarStore(tmp_path / "avatars", cache_bytes=1 << 30)
    record = store.get("ada")
    assert (record.state, record.frames, record.engines) == ("ready", 27, ("musetalk", "warp"))
    assert isinstance(record, AvatarRecord)
    avatar = store.open("ada")
    shown = cv2.cvtColor(avatar.frames[9].reshape(540, 640), cv2.COLOR_YUV2BGR_I420)
    assert np.abs(shown.astype(int) - pictures[9]).mean() < 6  # the same picture; OpenCV's matrix is BT.601
    own = avatar.path / prepared.FOLDER
    settings = of_avatar(own, MuseTalkSettings(version="1.0"))
    assert settings.bbox_shift == 5
    made = prepared.load(own, settings.key(), 27)
    assert made.box(3) == boxes[3]
    assert np.array_equal(made.latents[3], torch.load(folder / "latents.pt", weights_only=True)[3][0].float().numpy())
    assert not list(store.uploads.iterdir())


def test_the_command_tells_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    (tmp_path / "ref").mkdir()
    assert run.main(["avatar", "import", "ada", str(tmp_path / "ref")]) == 1
    assert "is no avatar of MuseTalk's scripts: coords.pkl" in capsys.readouterr().err
