"""Fetching MuseTalk from a stand-in hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

import run
from pipeline.hub.fetch import FetchError
from pipeline.lipsync.musetalk.fetch import OF_BOTH, OF_VERSION, fetch
from pipeline.lipsync.musetalk.installation import find
from tests.hub.conftest import hub
from tests.hub.stand_in import QUICK, StandInHub

from .made_faces import GOLDEN

__all__ = ["hub"]

SOURCES = [*OF_VERSION["1.5"], *OF_VERSION["1.0"], *OF_BOTH]


@pytest.mark.shared
@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}")
def test_the_command_fetches_an_installation_that_can_be_used(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in SOURCES:
        if (GOLDEN / "models" / source.target).is_file():
            hub.add(source.repo, source.path, (GOLDEN / "models" / source.target).read_bytes())
    monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
    monkeypatch.setenv("MUSETALK_BASE", str(tmp_path / "muse"))
    assert run.main(["models", "fetch", "musetalk"]) == 0
    for version in ("1.5", "1.0"):
        found = find(tmp_path / "muse", version)  # type: ignore[arg-type]
        assert found.unet_weights.read_bytes() == find(GOLDEN, version).unet_weights.read_bytes()  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert "MuseTalk runs without it" in out  # the golden installation has no BiSeNet
    assert "unet.pth: 100%" in err
    assert not list(tmp_path.rglob("*.part"))

    sent = len(hub.transfers)
    assert run.main(["models", "fetch", "musetalk", "--base", str(tmp_path / "muse")]) == 0
    assert len(hub.transfers) == sent
    assert "unet.pth: is there already" in capsys.readouterr().err


def test_only_the_version_that_is_asked_for(hub: StandInHub, tmp_path: Path) -> None:
    for source in SOURCES:
        hub.add(source.repo, source.path, b"{}")
    assert fetch(tmp_path, lambda _: None, versions=("1.5",), endpoint=hub.address, patience=QUICK) == []
    assert (tmp_path / "models/musetalkV15/unet.pth").is_file()
    assert not (tmp_path / "models/musetalk").exists()


def test_a_fetch_that_fails_says_how_to_go_on(hub: StandInHub, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="Not all of MuseTalk's files") as error:
        fetch(tmp_path, lambda _: None, endpoint=hub.address, patience=QUICK)
    assert ".venv/bin/python run.py models fetch musetalk" in str(error.value)
