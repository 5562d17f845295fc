"""Where settings come from, which one wins, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from server.parts import choose_engine, rtc_settings
from server.settings import OPERATOR_NAMES, ROOT, Settings, SettingsError, load, unused_names


def plain(value: Any) -> Any:
    """A model's value as YAML would have it."""
    match value:
        case BaseModel():
            return {name: plain(getattr(value, name)) for name in type(value).model_fields}
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
        case tuple():
            return [plain(item) for item in value]
    return value


def test_config_yaml_has_every_setting_with_its_default() -> None:
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert written == plain(Settings())


def test_every_setting_has_a_comment() -> None:
    group = ""
    for line in (ROOT / "config.yaml").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            group = line
        elif line.startswith("  "):
            assert "# " in line, f"{group} {line}"
            assert len(line.partition("# ")[2]) > 10, line


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_the_order_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path, "sessions: {max_sessions: 2, first_seconds: 5}\nserver: {port: 1111}\n")
    assert load(config).sessions.max_sessions == 2
    (tmp_path / ".env").write_text("MAX_SESSIONS=3\nLECTERN_SERVER__PORT=2222\nUNRELATED=1\n")
    assert load(config).sessions.max_sessions == 3
    assert load(config).server.port == 2222
    monkeypatch.setenv("MAX_SESSIONS", "4")
    monkeypatch.setenv("LECTERN_SERVER__PORT", "3333")
    assert load(config).sessions.max_sessions == 4
    assert load(config).server.port == 3333
    assert load(config, overrides={"server": {"port": 4444}}).server.port == 4444
    assert load(config).sessions.first_seconds == 5  # a group is merged, not replaced
    assert Settings().sessions.max_sessions == 8  # and none of it stays behind


def test_every_operators_name_reaches_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "ENABLE_MUSETALK": ("true", True),
        "MUSETALK_BASE": ("/m", Path("/m")),
        "AVATARS_DIR": ("/a", Path("/a")),
        "MAX_SESSIONS": ("5", 5),
        "SESSION_TIMEOUT_SECONDS": ("90", 90.0),
        "DATABASE_URL": ("postgres://u:p@h/d", SecretStr("postgres://u:p@h/d")),
        "WEBRTC_PUBLIC_IP": ("203.0.113.7", "203.0.113.7"),
        "WEBRTC_PORT_MIN": ("40000", 40000),
        "WEBRTC_PORT_MAX": ("40100", 40100),
        "WEBRTC_STUN_SERVER": ("stun:s:1", "stun:s:1"),
        "WEBRTC_TURN_SERVER": ("turn:t:1", "turn:t:1"),
        "WEBRTC_TURN_SERVER_LOCAL": ("turn:l:1", "turn:l:1"),
        "WEBRTC_TURN_USERNAME": ("u", "u"),
        "WEBRTC_TURN_PASSWORD": ("p", SecretStr("p")),
        "WEBRTC_TURN_SECRET": ("s", SecretStr("s")),
        "WEBRTC_ICE_TRANSPORT_POLICY": ("relay", "relay"),
        "TTS_VOICE": ("en-US-AriaNeural", "en-US-AriaNeural"),
    }
    assert set(values) == set(OPERATOR_NAMES)
    for name, (text, _) in values.items():
        monkeypatch.setenv(name, text)
    settings = load(write(tmp_path, ""))
    for name, (_, value) in values.items():
        group, key = OPERATOR_NAMES[name]
        assert getattr(getattr(settings, group), key) == value
    with pytest.raises(SettingsError, match="not both"):
        rtc_settings(settings)
    monkeypatch.delenv("WEBRTC_TURN_SECRET")
    rtc = rtc_settings(load(write(tmp_path, "")))
    assert (rtc.turn_password, rtc.port_min, rtc.relay_only) == ("p", 40000, True)


def test_an_empty_name_counts_as_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_SESSIONS", "")
    monkeypatch.setenv("LECTERN_SERVER__PORT", "")
    assert load(write(tmp_path, "")) == load(write(tmp_path, "server: {}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server: {prot: 1}", "server.prot: unknown setting; did you mean server.port?"),
        ("vidio: {codec: vp8}", "vidio: unknown setting; did you mean video?"),
        ("server: {port: ninety}", "server.port: "),
        ("server: {port: 70000}", "server.port: "),
        ("video: {codec: av1}", "video.codec: "),
        ("video: {bitrate: 9000000}", "video: needs min_bitrate <= bitrate <= max_bitrate"),
        ("sessions: {max_sessions: 0}", "sessions.max_sessions: "),
        ("webrtc: {port_min: 50000}", "webrtc: port_min and port_max go together"),
        ("webrtc: {public_ip: home}", "webrtc.public_ip: "),
        ("webrtc: {turn_seconds: 1}", "webrtc.turn_seconds: "),
        ("webrtc: {ice_transport_policy: direct}", "webrtc.ice_transport_policy: "),
        ("server: {allowed_origins: [school.example]}", "server.allowed_origins: "),
        ("server: 5", "server: "),
        ("records: {retention_days: -1}", "records.retention_days: "),
        ("just text", "groups of settings"),
        ("a: [", "is not YAML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        load(write(tmp_path, text))
    assert message in str(wrong.value)


def test_all_wrong_settings_are_named_at_once_and_secrets_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LECTERN_AVATARS__MAX_HEIGHT", "4000")
    with pytest.raises(SettingsError) as wrong:
        load(write(tmp_path, "server: {api_key: [hush], port: x}"))
    text = str(wrong.value)
    assert {line.partition(":")[0] for line in text.splitlines()} == {
        "server.api_key",
        "server.port",
        "avatars.max_height",
    }
    assert "hush" not in text


def test_wrong_names_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LECTERN_SEVER__PORT", "1")
    with pytest.raises(SettingsError, match=r"LECTERN_SEVER__PORT: unknown setting; did you mean server\?"):
        load(write(tmp_path, ""))
    monkeypatch.delenv("LECTERN_SEVER__PORT")
    monkeypatch.setenv("LECTERN_SERVER__PROT", "1")
    with pytest.raises(SettingsError, match=r"server.prot: unknown setting"):
        load(write(tmp_path, ""))


def test_a_missing_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load(tmp_path / "none.yaml")


def test_relative_paths_start_at_the_config_file(tmp_path: Path) -> None:
    settings = load(
        write(tmp_path, "avatars: {dir: here, import_dirs: [in, /abs]}\nrecords: {database_url: 'sqlite:///r/x.db'}")
    )
    assert settings.records.database_url.get_secret_value() == f"sqlite:///{tmp_path}/r/x.db"
    assert settings.avatars.dir == tmp_path / "here"
    assert settings.avatars.import_dirs == (tmp_path / "in", Path("/abs"))


def test_a_turn_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WEBRTC_TURN_SERVER"):
        rtc_settings(load(write(tmp_path, "webrtc: {turn_server: 'http://x'}")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ice_transport_policy: relay", "WEBRTC_TURN_SERVER"),
        ("turn_server: t:3478", "WEBRTC_TURN_SECRET"),
    ],
)
def test_webrtc_that_could_not_work_is_refused_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        rtc_settings(load(write(tmp_path, f"webrtc: {{{text}}}")))


def test_names_without_effect_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unused_names() == {}
    monkeypatch.setenv("FFMPEG_PATH", "/usr/bin/ffmpeg")
    assert set(unused_names()) == {"FFMPEG_PATH"}


@pytest.mark.parametrize(
    ("group", "why"),
    [
        ({}, "MuseTalk is off"),
        ({"enable_musetalk": True}, "MUSETALK_BASE"),
        ({"enable_musetalk": True, "musetalk_base": "/nowhere"}, "does not exist"),
    ],
)
def test_warp_is_chosen_and_says_why(group: dict[str, Any], why: str) -> None:
    choice = choose_engine(Settings(lipsync=group))  # type: ignore[arg-type]
    try:
        assert choice.engine.name == "warp"
        assert why in choice.why
    finally:
        choice.engine.close()
