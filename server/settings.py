"""All settings together: which there are, and where each may come from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    PrivateAttr,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.lipsync.musetalk.settings import MuseTalkSettings
from server.setting_groups import (
    AccessSettings,
    AvatarSettings,
    LipSyncSettings,
    ListeningSettings,
    LiveTalkingSettings,
    ModelGroup,
    OutputSettings,
    RecordingSettings,
    RecordSettings,
    ServerSettings,
    SessionSettings,
    VideoGroup,
    VoiceSettings,
    WebRtcSettings,
)

ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "LECTERN_"


class SettingsError(Exception):
    """The settings cannot be used; str() names each wrong key and what is wrong with it, one a line."""

    what: ClassVar[str] = "the settings are wrong"


class Settings(BaseSettings):
    """All of it. Made by `load`; the constructor alone gives the defaults and what its arguments change."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    server: ServerSettings = ServerSettings()
    access: AccessSettings = AccessSettings()
    avatars: AvatarSettings = AvatarSettings()
    lipsync: LipSyncSettings = LipSyncSettings()
    musetalk: MuseTalkSettings = MuseTalkSettings()
    voice: VoiceSettings = VoiceSettings()
    model: ModelGroup = ModelGroup()
    listening: ListeningSettings = ListeningSettings()
    video: VideoGroup = VideoGroup()
    sessions: SessionSettings = SessionSettings()
    records: RecordSettings = RecordSettings()
    recording: RecordingSettings = RecordingSettings()
    outputs: OutputSettings = OutputSettings()
    livetalking: LiveTalkingSettings = LiveTalkingSettings()
    webrtc: WebRtcSettings = WebRtcSettings()

    _layers: ClassVar[_Layers | None] = None
    _base: Path | None = PrivateAttr(default=None)

    def defaults(self) -> Settings:
        """What these would be if nobody had set anything, with paths made absolute from the same folder."""
        return Settings() if self._base is None else _absolute(Settings(), self._base)

    def adopt(self, new: Settings, keys: Collection[str]) -> None:
        """Take these keys ("group.key") from other settings, in place: whoever reads them next finds the new values.
        The one exception to settings being what they were at the start; for what a running server may change.
        """
        for group in {key.partition(".")[0] for key in keys}:
            values = {key.partition(".")[2] for key in keys if key.startswith(f"{group}.")}
            changed = {key: getattr(getattr(new, group), key) for key in values}
            self.__dict__[group] = getattr(self, group).model_copy(update=changed)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first wins: arguments (the command line), environment, .env, config.yaml. Alone: arguments only."""
        layers = cls._layers
        if layers is None:
            return (init_settings,)
        return (
            init_settings,
            _Fixed(settings_cls, from_operator_names(layers.environ)),
            EnvSettingsSource(settings_cls),
            _Fixed(settings_cls, from_operator_names(layers.dotenv)),
            _dotenv_source(settings_cls, layers.dotenv),
            _Fixed(settings_cls, layers.file),
        )


OPERATOR_NAMES: dict[str, tuple[str, str]] = {
    "ENABLE_MUSETALK": ("lipsync", "enable_musetalk"),
    "MUSETALK_BASE": ("lipsync", "musetalk_base"),
    "AVATARS_DIR": ("avatars", "dir"),
    "MAX_SESSIONS": ("sessions", "max_sessions"),
    "SESSION_TIMEOUT_SECONDS": ("sessions", "timeout_seconds"),
    "DATABASE_URL": ("records", "database_url"),
    "WEBRTC_PUBLIC_IP": ("webrtc", "public_ip"),
    "WEBRTC_PORT_MIN": ("webrtc", "port_min"),
    "WEBRTC_PORT_MAX": ("webrtc", "port_max"),
    "WEBRTC_STUN_SERVER": ("webrtc", "stun_server"),
    "WEBRTC_TURN_SERVER": ("webrtc", "turn_server"),
    "WEBRTC_TURN_SERVER_LOCAL": ("webrtc", "turn_server_local"),
    "WEBRTC_TURN_USERNAME": ("webrtc", "turn_username"),
    "WEBRTC_TURN_PASSWORD": ("webrtc", "turn_password"),
    "WEBRTC_TURN_SECRET": ("webrtc", "turn_secret"),
    "WEBRTC_ICE_TRANSPORT_POLICY": ("webrtc", "ice_transport_policy"),
    "TTS_VOICE": ("voice", "default"),
}
"""Environment names that operators already use. Every setting also has the form LECTERN_GROUP__KEY."""

UNUSED_NAMES = {
    "MUSETALK_CONDA_ENV": "MuseTalk runs in the server's own Python environment",
    "FFMPEG_PATH": "video is read and written by PyAV, which brings its own FFmpeg",
}
"""Environment names that are accepted without effect, and why."""


class _Layers:
    """What `load` read, for the sources of one construction."""

    def __init__(self, file: dict[str, Any], dotenv_path: Path, environ: Mapping[str, str]) -> None:
        self.file = file
        self.environ = environ
        self.dotenv = {key: value for key, value in dotenv_values(dotenv_path).items() if value is not None}


class _Fixed(PydanticBaseSettingsSource):
    """A source that gives a dictionary which was read before."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def _dotenv_source(settings_cls: type[BaseSettings], values: Mapping[str, str]) -> EnvSettingsSource:
    """pydantic's own source for .env refuses the operators' names as unknown; this one reads LECTERN_… only."""
    source = EnvSettingsSource(settings_cls)
    source.env_vars = {name.lower(): value for name, value in values.items() if value}
    return source


def _check_names(environ: Mapping[str, str]) -> None:
    """LECTERN_GROUP__KEY whose group does not exist would be passed over in silence."""
    for name in environ:
        group, separator, _ = name.lower().removeprefix(_PREFIX.lower()).partition("__")
        if name.upper().startswith(_PREFIX) and separator and group not in Settings.model_fields:
            hint = difflib.get_close_matches(group, Settings.model_fields, n=1)
            raise SettingsError(f"{name}: unknown setting" + (f"; did you mean {hint[0]}?" if hint else ""))


def from_operator_names(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the operators' own names carry; an empty value counts as not set."""
    values: dict[str, dict[str, Any]] = {}
    for name, (group, key) in OPERATOR_NAMES.items():
        value = environ.get(name, "").strip()
        if value:
            values.setdefault(group, {})[key] = value
    return values


def load(
    config: Path | None = None,
    *,
    dotenv: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    again: bool = False,
) -> Settings:
    """Read config.yaml, then .env beside it, then the environment, then `overrides` (the command line); the last wins.

    overrides: {group: {key: value}}. again: a server that runs reads it once more, and an empty file is a mistake: it
    may have been cut off. Relative paths are made absolute from the folder of config.yaml.
    Raises SettingsError with a message for people that names the keys.
    """
    path = config or ROOT / "config.yaml"
    base = path.resolve().parent
    layers = _Layers(_read_yaml(path, required=config is not None, filled=again), dotenv or base / ".env", os.environ)
    _check_names({**layers.dotenv, **layers.environ})
    Settings._layers = layers
    try:
        settings = Settings(**{group: dict(values) for group, values in (overrides or {}).items()})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(item) for item in error.errors(include_url=False))) from error
    finally:
        Settings._layers = None
    return _absolute(settings, base)


def unused_names() -> dict[str, str]:
    """Accepted environment names that are set now though nothing uses them, each with the reason."""
    return {name: why for name, why in UNUSED_NAMES.items() if os.environ.get(name)}


def _read_yaml(path: Path, *, required: bool, filled: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: there is no such file") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if filled and not text.strip():
        raise SettingsError(f"{path}: is empty; for the defaults write at least a comment (#) into it")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: must hold groups of settings (server:, avatars:, …)")
    return {str(group): {} if values is None else values for group, values in data.items()}


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        hint = difflib.get_close_matches(key, _all_keys(), n=1)
        return f"{key}: unknown setting" + (f"; did you mean {hint[0]}?" if hint else "")
    secret = any(word in key for word in ("key", "password", "secret", "database_url")) or "@" in str(item["input"])
    given = "" if secret or isinstance(item["input"], dict | BaseModel) else f" (it is {item['input']!r})"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}{given}"


def _all_keys() -> list[str]:
    keys = []
    for group, info in Settings.model_fields.items():
        keys.append(group)
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            keys += [f"{group}.{key}" for key in model.model_fields]
    return keys


def _absolute(settings: Settings, base: Path) -> Settings:
    avatars = settings.avatars.model_copy(
        update={
            "dir": base / settings.avatars.dir.expanduser(),
            "import_dirs": tuple(base / folder.expanduser() for folder in settings.avatars.import_dirs),
        }
    )
    lipsync = settings.lipsync
    if lipsync.musetalk_base is not None:
        lipsync = lipsync.model_copy(update={"musetalk_base": base / lipsync.musetalk_base.expanduser()})
    listening = settings.listening.model_copy(update={"models_dir": base / settings.listening.models_dir.expanduser()})
    access = settings.access.model_copy(
        update={
            "keys_file": base / settings.access.keys_file.expanduser(),
            "token_file": base / settings.access.token_file.expanduser(),
        }
    )
    records = settings.records.model_copy(update={"database_url": _absolute_file(settings.records.database_url, base)})
    recording = settings.recording.model_copy(update={"dir": base / settings.recording.dir.expanduser()})
    made = settings.model_copy(
        update={
            "access": access,
            "avatars": avatars,
            "lipsync": lipsync,
            "listening": listening,
            "recording": recording,
            "records": records,
        }
    )
    made._base = base
    return made


def _absolute_file(url: SecretStr, base: Path) -> SecretStr:
    """sqlite:///relative as sqlite:////absolute; anything else as it is."""
    scheme, separator, path = url.get_secret_value().partition(":///")
    if not separator or not scheme.startswith("sqlite") or not path or path.startswith(("/", ":")):
        return url
    return SecretStr(f"{scheme}:///{quote(str(base))}/{path}")
