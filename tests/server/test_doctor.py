"""The doctor's last line says what to do next; commands say what is wrong first."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import run
from server import doctor
from server.access import key_file
from server.doctor import Finding, closing
from server.settings import Settings

GOOD = [Finding("Python", "ok", "3.11"), Finding("language model", "note", "none", "set model.base_url")]


def test_what_is_bad_is_mended_first(settings_for: Callable[..., Settings]) -> None:
    bad = [Finding("face models", "bad", "missing", "fetch them"), Finding("free disk", "bad", "0 GB", "free some")]
    assert closing([*GOOD, *bad], settings_for()) == (
        "Mend this first: face models: fetch them, then the other 1 marked BAD. Then look again: make doctor"
    )
    assert closing([bad[1]], settings_for()) == "Mend this first: free disk: free some. Then look again: make doctor"


def test_what_works_is_started(settings_for: Callable[..., Settings]) -> None:
    text = closing(GOOD, settings_for(server={"host": "0.0.0.0", "port": 9012}))
    assert "Start with: make run" in text
    assert "http://127.0.0.1:9012/teacher" in text


def test_a_taken_port_gets_another(settings_for: Callable[..., Settings]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = doctor._port("127.0.0.1", port)
        text = closing([*GOOD, found], settings_for(server={"port": port}))
    command = text.split(": ")[-1].split()
    assert command[1:] == ["make", "run"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(command[0].removeprefix("LECTERN_SERVER__PORT="))))


def test_who_may_call_is_told(settings_for: Callable[..., Settings]) -> None:
    assert doctor._keys(settings_for()).state == "note"
    row = doctor._keys(settings_for(server={"host": "0.0.0.0"}))
    assert row.state == "bad"
    assert row.mend.endswith("run.py keys add --role admin")
    key_file.add(settings_for().access.keys_file, "admin", "")
    row = doctor._keys(settings_for(server={"host": "0.0.0.0", "api_key": "an operator's own key"}))
    assert (row.state, row.found) == ("ok", "1 of run.py keys, and server.api_key")


def test_the_network_is_looked_at_where_something_is_set(settings_for: Callable[..., Settings]) -> None:
    def rows(**webrtc: object) -> list[Finding]:
        return [check() for check in doctor._network(settings_for(webrtc=webrtc))]

    assert rows() == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        (row,) = rows(port_min=port, port_max=port)
    assert (row.what, row.state) == (f"UDP ports {port}-{port}", "bad")
    (row,) = rows(port_min=port, port_max=port)
    assert row.state == "ok"
    (row,) = rows(turn_server="turn:127.0.0.1:1?transport=tcp", turn_secret="s")
    assert (row.state, row.found) == ("bad", "gives no relay")
    assert "cannot be reached" in row.mend
    (row,) = rows(ice_transport_policy="relay")
    assert row.state == "bad"
    assert "WEBRTC_TURN_SERVER" in row.found


def test_the_doctor_command_ends_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda settings: [Finding("free disk", "bad", "0 GB", "free some space")])
    (tmp_path / "config.yaml").write_text(f"avatars: {{dir: {tmp_path}}}\n")
    assert run.main(["--config", str(tmp_path / "config.yaml"), "doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("Mend this first: free disk: free some space")


def test_an_import_of_nothing_asks_for_no_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torch" else found(name, *more)
    )
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    assert run.main(["avatar", "import", "ada", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.strip() == f"{tmp_path / 'nothing'}: there is no such folder"
    (tmp_path / "something").mkdir()
    assert run.main(["avatar", "import", "ada", str(tmp_path / "something")]) == 1
    assert "torch is needed" in capsys.readouterr().err
