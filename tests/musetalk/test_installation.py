"""A MuseTalk installation with something missing says what, and how to get it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.lipsync.musetalk.installation import FETCH_COMMAND, InstallationError, find

from .test_golden import GOLDEN

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}"),
]


def test_missing_empty_and_broken_files_are_all_named(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "models", tmp_path / "models", copy_function=shutil.copyfile)
    (tmp_path / "models/musetalkV15/unet.pth").unlink()
    (tmp_path / "models/sd-vae/diffusion_pytorch_model.bin").write_bytes(b"")
    (tmp_path / "models/whisper/config.json").write_text("[]")
    with pytest.raises(InstallationError) as error:
        find(tmp_path)
    message = str(error.value)
    assert "unet.pth: missing" in message
    assert "diffusion_pytorch_model.bin: empty" in message
    assert "config.json: not a JSON object" in message
    assert FETCH_COMMAND in message


def test_weights_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")
    from pipeline.lipsync.musetalk import networks

    shutil.copytree(GOLDEN / "models", tmp_path / "models", copy_function=shutil.copyfile)
    (tmp_path / "models/musetalkV15/unet.pth").write_bytes(b"not a pickle at all")
    with pytest.raises(InstallationError, match=r"unet\.pth: cannot be read") as error:
        networks.unet(find(tmp_path))
    assert FETCH_COMMAND in str(error.value)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("musetalkV15/musetalk.json", "musetalkV15: no network"),
        ("sd-vae/config.json", "sd-vae: no network"),
        ("whisper/config.json", "whisper: no network"),
        ("whisper/preprocessor_config.json", "whisper/preprocessor_config.json: cannot be used"),
    ],
)
def test_a_configuration_of_other_kinds_of_values_is_named(tmp_path: Path, name: str, named: str) -> None:
    pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")
    from pipeline.lipsync.musetalk import networks, prompts

    shutil.copytree(GOLDEN / "models", tmp_path / "models", copy_function=shutil.copyfile)
    path = tmp_path / "models" / name
    values = json.loads(path.read_text())
    path.write_text(json.dumps({key: "x" if isinstance(value, int) else value for key, value in values.items()}))
    load: Any = {"musetalkV15": networks.unet, "sd-vae": networks.vae, "whisper": prompts.Listener}[path.parent.name]
    with pytest.raises(InstallationError) as error:
        load(find(tmp_path))
    assert named in str(error.value)
    assert FETCH_COMMAND in str(error.value)


def test_both_versions_are_found() -> None:
    assert find(GOLDEN, "1.5").unet_weights.name == "unet.pth"
    assert find(GOLDEN, "1.0").unet_weights.name == "pytorch_model.bin"
