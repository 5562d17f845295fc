"""Fetching the recogniser's model from a stand-in hub on loopback, and what the doctor says of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import run
from pipeline.hub.fetch import FetchError, Step
from pipeline.recognise_models import fetch
from server import doctor, listening
from server.listening_commands import fetch_model
from server.settings import Settings, SettingsError, load
from tests.hub.stand_in import QUICK, StandInHub
from tests.server.conftest import settings_for

__all__ = ["settings_for"]

FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.bin": b"weights" * 40_000, "vocabulary.txt": b"a\nb"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    hub = StandInHub()
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    yield hub
    hub.stop()


def test_a_model_is_fetched_whole_by_its_name(hub: StandInHub, tmp_path: Path) -> None:
    for name, content in FILES.items():
        hub.add("Systran/faster-whisper-base", name, content)
    steps: list[Step] = []
    folder = fetch("base", tmp_path, steps.append, patience=QUICK)
    assert folder == tmp_path / "base"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert {step.file for step in steps} == {f"base/{name}" for name in FILES}, "what it need not have is not told"
    transfers = len(hub.transfers)
    assert fetch("base", tmp_path, steps.append, patience=QUICK) == folder
    assert sum(sent > 1 for _, _, sent in hub.transfers[transfers:]) == 0, "nothing is fetched twice"


def test_a_cut_or_wrong_transfer_is_mended(hub: StandInHub, tmp_path: Path) -> None:
    for name, content in FILES.items():
        hub.add("someone/whisper-here", name, content)
    hub.faults["someone/whisper-here/model.bin"] = ["cut", "flip"]
    folder = fetch("someone/whisper-here", tmp_path, lambda step: None, patience=QUICK)
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]


@pytest.mark.parametrize("gone", ["model.bin", "vocabulary.txt"])
def test_what_the_hub_does_not_have_is_told(hub: StandInHub, tmp_path: Path, gone: str) -> None:
    for name, content in FILES.items():
        if name != gone:
            hub.add("Systran/faster-whisper-base", name, content)
    with pytest.raises(FetchError, match=gone.partition(".")[0]) as error:
        fetch("base", tmp_path, lambda step: None, patience=QUICK)
    assert "MuseTalk" not in str(error.value)


def test_a_folder_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="by name"):
        fetch("/some/folder", tmp_path, lambda step: None, patience=QUICK)


def test_the_command(
    hub: StandInHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings_for: Callable[..., Settings],
) -> None:
    for name, content in FILES.items():
        hub.add("Systran/faster-whisper-tiny.en", name, content)
    settings = settings_for(listening={"models_dir": tmp_path})
    arguments = run.parser().parse_args(["models", "fetch", "asr", "--model", "tiny.en"])
    assert fetch_model(settings, arguments) == 0
    out, err = capsys.readouterr()
    assert "LECTERN_LISTENING__MODEL=tiny.en" in out
    assert "tiny.en/model.bin" in err
    assert fetch_model(settings, argparse.Namespace(model="base")) == 1
    assert ".venv/bin/python run.py models fetch asr --model base" in capsys.readouterr().err


def test_the_doctor_tries_the_recogniser(whisper: Path, tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    found = doctor._listening(settings_for(listening={"model": str(whisper)}))
    assert (found.state, "ms for a second of sound" in found.found) == ("ok", True)
    found = doctor._listening(settings_for(listening={"models_dir": tmp_path}))
    assert (found.state, found.mend) == ("note", ".venv/bin/python run.py models fetch asr")
    assert listening.REASONS["no_model"] in found.found
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    found = doctor._listening(settings_for(listening={"model": str(tmp_path)}))
    assert (found.state, "does not work" in found.found) == ("bad", True)


@pytest.mark.parametrize(
    "group", [{"language": "English"}, {"device": "tpu"}, {"threads": 0}, {"model": ""}, {"mode": "base"}], ids=str
)
def test_settings_that_cannot_be(tmp_path: Path, group: dict[str, object]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"listening": group}))
    with pytest.raises(SettingsError, match=f"listening.{next(iter(group))}"):
        load(config)


def test_models_are_looked_for_beside_the_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("listening: {models_dir: asr}\n")
    assert load(config).listening.models_dir == tmp_path / "asr"
