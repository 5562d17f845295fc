"""The groups of settings, each with its keys, their types and defaults."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from pipeline.language_model import ModelSettings
from pipeline.media import VideoSettings
from pipeline.persona import DEFAULT as DEFAULT_PERSONA
from server.recorder.targets import ALLOWED_HOST

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[float, Field(gt=0)]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Group):
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


class AccessSettings(Group):
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


class AvatarSettings(Group):
    dir: Path = Path("data/avatars")
    max_height: Annotated[int, Field(ge=240, le=1080)] = 720
    max_seconds: Annotated[float, Field(ge=1, le=300)] = 30.0
    import_dirs: tuple[Path, ...] = (Path("data/import"),)
    max_upload_mb: Annotated[int, Field(ge=1, le=10_000)] = 500
    cache_gb: Positive = 8.0
    parallel_builds: Annotated[int, Field(ge=1, le=16)] = 1
    wait_seconds: Annotated[float, Field(gt=0, le=600)] = 120.0


class LipSyncSettings(Group):
    enable_musetalk: bool = False
    musetalk_base: Path | None = None
    musetalk_device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] = "auto"
    musetalk_precision: Literal["auto", "fp32", "fp16"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1


class VoiceSettings(Group):
    default: Annotated[str, Field(min_length=1)] = "hibari:heart"


class TutorSettings(Group):
    """What a tutor has of its own; what is not set is as for all."""

    persona: Annotated[str, Field(max_length=8000)] | None = None
    language: Annotated[str, Field(max_length=60)] | None = None
    voice: str | None = None
    model: str | None = None


class ModelGroup(Group):
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


class ListeningSettings(Group):
    enabled: bool = True
    model: Annotated[str, Field(min_length=1, max_length=500)] = "base"
    models_dir: Path = Path("models/asr")
    language: Annotated[str, Field(pattern=r"^([a-z]{2,3})?$")] = ""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 2


class VideoGroup(Group):
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


class SessionSettings(Group):
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


class RecordSettings(Group):
    database_url: SecretStr = SecretStr("")
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 30


class RecordingSettings(Group):
    enabled: bool = True
    dir: Path = Path("data/recordings")
    retention_days: Annotated[float, Field(gt=0, le=36_500)] | None = 30.0
    max_gb: Positive = 50.0
    least_free_gb: Annotated[float, Field(ge=0)] = 2.0
    max_seconds: Annotated[float, Field(ge=1, le=86_400)] = 7200.0


class OutputSettings(Group):
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


class LiveTalkingSettings(Group):
    enabled: bool = False
    avatar: Annotated[str, Field(max_length=200)] = ""
    tutor: Annotated[str, Field(max_length=200)] = ""
    open_offer: bool = False


class WebRtcSettings(Group):
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
