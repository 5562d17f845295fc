"""The configuration is shown whole, and no secret in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from server.admin.configuration import MASK, shown, without_password
from server.settings import Settings, load

SECRETS = ("operators-key-0123456789", "model-key-42", "turn-pass-word", "database-pass-word")


def secrets_of(value: Any) -> int:
    """How many SecretStr there are."""
    if isinstance(value, SecretStr):
        return 1
    if isinstance(value, BaseModel):
        return sum(secrets_of(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, dict):
        return sum(map(secrets_of, value.values()))
    return sum(map(secrets_of, value)) if isinstance(value, list | tuple) else 0


def test_every_setting_is_shown_and_no_secret() -> None:
    settings = Settings(
        server={"api_key": SECRETS[0], "port": 9001},  # type: ignore[arg-type]
        model={"base_url": "http://m:1/v1", "name": "m", "api_key": SECRETS[1]},  # type: ignore[arg-type]
        records={"database_url": f"postgresql://lectern:{SECRETS[3]}@db:5432/lectern"},  # type: ignore[arg-type]
        webrtc={"turn_server": f"turn:user:{SECRETS[2]}@t:1", "turn_password": SECRETS[2]},  # type: ignore[arg-type]
    )
    found = shown(settings)
    text = json.dumps(found)
    assert text.count(MASK) >= 5
    assert found["settings"]["records"]["database_url"] == f"postgresql://{MASK}@db:5432/lectern"
    for secret in SECRETS:
        assert secret not in text
    assert found["settings"]["server"]["port"] == 9001
    assert found["settings"]["model"]["base_url"] == "http://m:1/v1"
    assert found["settings"]["model"]["max_tokens"] == 600  # the name of a number, not of a secret
    assert {"server.port", "server.api_key", "model.name"} <= set(found["changed"])
    assert "server.host" not in found["changed"]
    for group, info in Settings.model_fields.items():
        assert set(found["settings"][group]) == set(info.annotation.model_fields)  # type: ignore[union-attr]


def test_a_path_is_not_changed_by_being_made_absolute(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("recording:\n  dir: films\nsessions:\n  max_sessions: 3\n")
    found = shown(load(file))
    assert found["settings"]["avatars"]["dir"] == str(tmp_path / "data/avatars")
    assert found["changed"] == ["sessions.max_sessions", "recording.dir"]


def test_a_secret_that_is_not_set_is_shown_as_not_set() -> None:
    assert secrets_of(Settings()) >= 3
    assert MASK not in json.dumps(shown(Settings()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql+asyncpg://lectern:s3cr@t@db:5432/lectern?ssl=on",
            f"postgresql+asyncpg://{MASK}@db:5432/lectern?ssl=on",
        ),
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("turn:alice:pass@turn.example:3478", f"turn:{MASK}@turn.example:3478"),
        ("turn:turn.example:3478", "turn:turn.example:3478"),
        ("rtmp://live.example/app/key", "rtmp://live.example/app/key"),
        ("http://[::1", "http://[::1"),
        ("redis://:only@r:6379/0", f"redis://{MASK}@r:6379/0"),
        ("http://h/path?mail=a@b", "http://h/path?mail=a@b"),
        ("ada@school.example", "ada@school.example"),
        ("", ""),
    ],
)
def test_passwords_in_addresses_are_masked(text: str, expected: str) -> None:
    assert without_password(text) == expected
