"""Settings for preparing faces: the server's, an avatar's own, and the command that changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

import run
from avatars.record import AvatarRecord
from avatars.store import AvatarStore, write_record
from pipeline.lipsync.musetalk.settings import AvatarSettingsError, MuseTalkSettings, of_avatar, write_of_avatar


def test_an_avatar_s_own_settings_come_over_the_server_s(tmp_path: Path) -> None:
    server = MuseTalkSettings(extra_margin=12)
    assert of_avatar(tmp_path, server) == server
    write_of_avatar(tmp_path / "musetalk", {"parsing": "raw"})
    assert of_avatar(tmp_path / "musetalk", server) == MuseTalkSettings(extra_margin=12, parsing="raw")
    write_of_avatar(tmp_path / "musetalk", {})
    assert of_avatar(tmp_path / "musetalk", server) == server
    assert list((tmp_path / "musetalk").iterdir()) == []


def test_own_settings_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AvatarSettingsError, match="extra_margin"):
        write_of_avatar(tmp_path, {"extra_margin": -1})
    for wrong in ("[]", "{", '{"version": "3"}', '{"margin": 3}'):
        (tmp_path / "settings.json").write_text(wrong)
        with pytest.raises(AvatarSettingsError, match=r"settings\.json"):
            of_avatar(tmp_path, MuseTalkSettings())


def test_the_key_changes_with_what_counts_and_only_then() -> None:
    v15, v10 = MuseTalkSettings(), MuseTalkSettings(version="1.0")
    assert v15.key() == MuseTalkSettings(bbox_shift=9).key()
    assert v15.key() == MuseTalkSettings(parsing="jaw").key()
    assert v10.key() == MuseTalkSettings(version="1.0", extra_margin=3, cheek_width=80).key()
    different = [
        v15,
        v10,
        MuseTalkSettings(extra_margin=11),
        MuseTalkSettings(version="1.0", bbox_shift=1),
        MuseTalkSettings(calibration=0.01),
        MuseTalkSettings(parsing="raw"),
        MuseTalkSettings(cheek_width=80),
    ]
    assert len({settings.key() for settings in different}) == len(different)


@pytest.mark.parametrize("wrong", [{"version": "2"}, {"bbox_shift": 500}, {"parsing": "neck"}, {"shift": 1}])
def test_settings_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MuseTalkSettings.model_validate(wrong)


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The musetalk folder of an avatar that the commands find."""
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    monkeypatch.setenv("LECTERN_MUSETALK__EXTRA_MARGIN", "14")
    folder = AvatarStore(tmp_path / "avatars", cache_bytes=1).folder("ada")
    folder.mkdir()
    write_record(folder, AvatarRecord(id="ada", state="ready"))
    return folder / "musetalk"


def _said(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}


def test_the_command_shows_and_changes_an_avatar_s_own(ada: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["avatar", "musetalk", "ada", "parsing=raw", "cheek_width=70"]) == 0
    said = _said(capsys)
    assert said["parsing"] == ["raw", "its", "own"]
    assert said["extra_margin"] == ["14"]
    assert of_avatar(ada, MuseTalkSettings()) == MuseTalkSettings(parsing="raw", cheek_width=70)
    assert run.main(["avatar", "musetalk", "ada", "parsing="]) == 0
    assert _said(capsys)["parsing"] == ["-"]
    assert run.main(["avatar", "musetalk", "ada"]) == 0
    assert _said(capsys)["cheek_width"] == ["70", "its", "own"]


@pytest.mark.parametrize("change", ["cheek_width=wide", "cheeks=3", "parsing"])
def test_the_command_refuses_what_is_no_setting(ada: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["avatar", "musetalk", "ada", change]) == 1
    assert change.partition("=")[0] in capsys.readouterr().err
    assert not ada.exists()


def test_the_command_knows_only_avatars_that_are_ready(ada: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["avatar", "musetalk", "bob"]) == 1
    assert "no avatar" in capsys.readouterr().err
