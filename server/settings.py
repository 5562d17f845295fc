"""Every setting of the server: its type, its default, and where it may come from."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.language_model import ModelSettings
from pipeline.lipsync.musetalk.settings import MuseTalkSettings
from pipeline.media import VideoSettings
from pipeline.persona import DEFAULT as DEFAULT_PERSONA
from server.recorder.targets import ALLOWED_HOST

ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "LECTERN_"

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The settings cannot be used; str() names each wrong key and what is wrong with it, one a line."""

    what: ClassVar[str] = "the settings are wrong"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Group):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9000
    api_key: SecretStr = SecretStr("")
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
                raise ValueError(f"{origin!r} is not an origin; write it like https://school.example")
        return origins


class AccessSettings(_Group):
    keys_file: Path = Path("data/keys.json")
    token_file: Path = Path("data/token.secret")
    token_secret: SecretStr = SecretStr("")
    token_seconds: Annotated[float, Field(ge=60, le=30 * 86400)] = 7200.0
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    requests_per_minute: Annotated[int, Field(ge=0)] = 12_000
    sessions_per_minute: Annotated[int, Field(ge=0)] = 300
    uploads_per_minute: Annotated[int, Field(ge=0)] = 60
    failures_per_minute: Annotated[int, Field(ge=0)] = 30

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        import ipaddress

        for value in values:
            try:
                ipaddress.ip_network(value)
            except ValueError as error:
                raise ValueError(f"{value!r} is no address or network; write it like 10.0.0.7 or 10.0.0.0/8") from error
        return values

    @field_validator("token_secret")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < 32:
            raise ValueError("must have at least 32 characters, or it can be guessed; openssl rand -hex 32 makes one")
        return value


class AvatarSettings(_Group):
    dir: Path = Path("data/avatars")
    max_height: Annotated[int, Field(ge=240, le=1080)] = 720
    max_seconds: Annotated[float, Field(ge=1, le=300)] = 30.0
    import_dirs: tuple[Path, ...] = (Path("data/import"),)
    max_upload_mb: Annotated[int, Field(ge=1, le=10_000)] = 500
    cache_gb: Positive = 8.0
    parallel_builds: Annotated[int, Field(ge=1, le=16)] = 1
    wait_seconds: Annotated[float, Field(gt=0, le=600)] = 120.0


class LipSyncSettings(_Group):
    enable_musetalk: bool = False
    musetalk_base: Path | None = None
    musetalk_device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] = "auto"
    musetalk_precision: Literal["auto", "fp32", "fp16"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1


class VoiceSettings(_Group):
    default: Annotated[str, Field(min_length=1)] = "hibari:heart"


class TutorSettings(_Group):
    """What a tutor has of its own; what is not set is as for all."""

    persona: Annotated[str, Field(max_length=8000)] | None = None
    language: Annotated[str, Field(max_length=60)] | None = None
    voice: str | None = None
    model: str | None = None


class ModelGroup(_Group):
    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    name: str = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 600
    first_token_seconds: Annotated[float, Field(gt=0, le=25)] = 8.0
    stall_seconds: Annotated[float, Field(gt=0, le=25)] = 8.0
    history_tokens: Annotated[int, Field(ge=200, le=1_000_000)] = 3000
    persona: Annotated[str, Field(max_length=8000)] = DEFAULT_PERSONA
    language: Annotated[str, Field(max_length=60)] = ""
    tutors: dict[str, TutorSettings] = {}

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("is not an address like http://127.0.0.1:11434/v1")
        if parts.username or parts.password:
            raise ValueError("must hold no password; the key belongs into model.api_key")
        return value

    @model_validator(mode="after")
    def _named(self) -> ModelGroup:
        if self.base_url and not self.name:
            raise ValueError("name: the model of base_url needs its name, as its server calls it")
        return self

    def client(self) -> ModelSettings | None:
        """The same, as the pipeline takes it; None: no model, the tutor repeats."""
        if not self.base_url:
            return None
        return ModelSettings(
            base_url=self.base_url,
            name=self.name,
            api_key=self.api_key.get_secret_value(),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            first_token_seconds=self.first_token_seconds,
            stall_seconds=self.stall_seconds,
        )


class ListeningSettings(_Group):
    enabled: bool = True
    model: Annotated[str, Field(min_length=1, max_length=500)] = "base"
    models_dir: Path = Path("models/asr")
    language: Annotated[str, Field(pattern=r"^([a-z]{2,3})?$")] = ""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 2


class VideoGroup(_Group):
    codec: Literal["h264", "vp8"] = "h264"
    height: Annotated[int, Field(ge=144, le=1080, multiple_of=2)] | None = None
    bitrate: Annotated[int, Field(ge=100_000, le=50_000_000)] = 2_500_000
    max_bitrate: Annotated[int, Field(ge=100_000, le=50_000_000)] = 4_000_000
    min_bitrate: Annotated[int, Field(ge=50_000, le=50_000_000)] = 600_000
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"] = "superfast"
    gop: Annotated[int, Field(ge=25, le=3000)] = 250

    @model_validator(mode="after")
    def _ordered(self) -> VideoGroup:
        if not self.min_bitrate <= self.bitrate <= self.max_bitrate:
            raise ValueError("needs min_bitrate <= bitrate <= max_bitrate")
        return self

    def encoder(self) -> VideoSettings:
        """The same, as the pipeline takes it."""
        return VideoSettings(**self.model_dump())


class SessionSettings(_Group):
    max_sessions: Annotated[int, Field(ge=1, le=10_000)] = 8
    timeout_seconds: Positive = 1800.0
    first_seconds: Positive = 60.0
    leave_seconds: Annotated[float, Field(ge=0)] = 1.5
    max_waiting: Annotated[int, Field(ge=0, le=1000)] = 32
    max_seconds: Annotated[float, Field(ge=0)] = 14_400.0
    idle_seconds: Annotated[float, Field(ge=0)] = 1800.0
    max_cpu_percent: Annotated[float, Field(ge=10, le=100)] = 90.0
    max_loop_percent: Annotated[float, Field(ge=10, le=100)] = 80.0
    max_late_ms: Annotated[float, Field(ge=0, le=1000)] = 20.0
    speaking_share: Annotated[float, Field(ge=0.05, le=1)] = 1.0
    max_text_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    max_audio_mb: Annotated[int, Field(ge=1, le=1000)] = 25
    max_audio_seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0
    audio_disk_mb: Annotated[int, Field(ge=1)] = 1000

    @model_validator(mode="after")
    def _room(self) -> SessionSettings:
        needed = self.max_audio_mb + math.ceil((self.max_audio_seconds + 2) * 0.096)
        if self.audio_disk_mb < needed:
            raise ValueError(f"audio_disk_mb must be at least {needed}, or the largest recording never finds room")
        return self


class RecordSettings(_Group):
    database_url: SecretStr = SecretStr("")
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 30


class RecordingSettings(_Group):
    enabled: bool = True
    dir: Path = Path("data/recordings")
    retention_days: Annotated[float, Field(gt=0, le=36_500)] | None = 30.0
    max_gb: Positive = 50.0
    least_free_gb: Annotated[float, Field(ge=0)] = 2.0
    max_seconds: Annotated[float, Field(ge=1, le=86_400)] = 7200.0


class OutputSettings(_Group):
    allowed_hosts: tuple[str, ...] = ()
    max_per_session: Annotated[int, Field(ge=1, le=16)] = 3
    give_up_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not ALLOWED_HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not a host; write it like live.school.example or 10.0.0.7:1935")
        return hosts


class LiveTalkingSettings(_Group):
    enabled: bool = False
    avatar: Annotated[str, Field(max_length=200)] = ""
    tutor: Annotated[str, Field(max_length=200)] = ""
    open_offer: bool = False


class WebRtcSettings(_Group):
    public_ip: str = ""
    port_min: Annotated[int, Field(ge=0, le=65535)] = 0
    port_max: Annotated[int, Field(ge=0, le=65535)] = 0
    stun_server: str = ""
    turn_server: str = ""
    turn_server_local: str = ""
    turn_username: str = ""
    turn_password: SecretStr = SecretStr("")
    turn_secret: SecretStr = SecretStr("")
    turn_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 14_400
    ice_transport_policy: Literal["all", "relay"] = "all"

    @field_validator("public_ip")
    @classmethod
    def _address(cls, value: str) -> str:
        import ipaddress

        for each in value.split(",") if value else ():
            ipaddress.ip_address(each.strip())
        return value

    @model_validator(mode="after")
    def _range(self) -> WebRtcSettings:
        if bool(self.port_min) != bool(self.port_max) or self.port_min > self.port_max:
            raise ValueError("port_min and port_max go together, port_min <= port_max; 0 and 0: any free port")
        return self


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
