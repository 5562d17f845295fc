"""The typed keys under which the application holds its parts."""

from __future__ import annotations

import asyncio

from aiohttp import web

from avatars.builder import AvatarBuilder
from avatars.store import AvatarStore
from pipeline.language_model import LanguageModel
from pipeline.lipsync.engine import LipSyncEngine
from pipeline.voices.book import VoiceBook
from server.access.keys import Keys
from server.access.limiter import Limiter
from server.access.tokens import Tokens
from server.drain import Drain
from server.listening import Listening
from server.load_sampler import LoadSampler
from server.metrics import Metrics
from server.pulse import Pulse
from server.recorder.outputs import Outputs
from server.recorder.recorder import Recorder
from server.recordings import Recordings
from server.records.records import Records
from server.rtc.registry import PeerRegistry
from server.rtc.settings import RtcSettings
from server.sessions import Sessions
from server.settings import Settings
from server.traces import Traces

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
KEYS: web.AppKey[Keys] = web.AppKey("keys", Keys)
LIMITER: web.AppKey[Limiter] = web.AppKey("limiter", Limiter)
TOKENS: web.AppKey[Tokens] = web.AppKey("tokens", Tokens)
STORE: web.AppKey[AvatarStore] = web.AppKey("store", AvatarStore)
BUILDER: web.AppKey[AvatarBuilder] = web.AppKey("builder", AvatarBuilder)
ENGINE: web.AppKey[LipSyncEngine] = web.AppKey("engine", LipSyncEngine)
VOICES: web.AppKey[VoiceBook] = web.AppKey("voices", VoiceBook)
MODEL: web.AppKey[LanguageModel] = web.AppKey("model", LanguageModel)
LISTENING: web.AppKey[Listening] = web.AppKey("listening", Listening)
LOAD_SAMPLER: web.AppKey[LoadSampler] = web.AppKey("load_sampler", LoadSampler)
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
DRAIN: web.AppKey[Drain] = web.AppKey("drain", Drain)
RECORDINGS: web.AppKey[Recordings] = web.AppKey("recordings", Recordings)
RECORDS: web.AppKey[Records] = web.AppKey("records", Records)
RECORDER: web.AppKey[Recorder] = web.AppKey("recorder", Recorder)
OUTPUTS: web.AppKey[Outputs] = web.AppKey("outputs", Outputs)
RTC: web.AppKey[RtcSettings] = web.AppKey("rtc", RtcSettings)
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
TRACES: web.AppKey[Traces] = web.AppKey("traces", Traces)
PULSE: web.AppKey[Pulse] = web.AppKey("pulse", Pulse)
PEERS: web.AppKey[PeerRegistry] = web.AppKey("peers", PeerRegistry)
STOPPING: web.AppKey[asyncio.Event] = web.AppKey("stopping", asyncio.Event)
