"""The composition root: builds every part of the server and hands them to each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from avatars.builder import AvatarBuilder
from pipeline.language_model import LanguageModel
from pipeline.lipsync.engine import LipSyncEngine
from pipeline.recognise import Recogniser
from pipeline.session import LiveSession
from pipeline.speaker import Speaker
from pipeline.voices.book import VoiceBook
from pipeline.voices.voice import VoiceError
from server import avatars_api, pages, probes, records_api, session_events, sessions_api, speech, tutors_api, ws
from server.access import api as access_api
from server.access.browsers import browser_guard
from server.access.headers import add_headers
from server.access.keys import Keys
from server.access.start import open_guard, open_keys, open_tokens
from server.admin import api as admin_api
from server.admin import drain as drain_api
from server.drain import Drain
from server.faces import Faces
from server.keys import (
    BUILDER,
    DRAIN,
    ENGINE,
    KEYS,
    LIMITER,
    LISTENING,
    LOAD_SAMPLER,
    METRICS,
    MODEL,
    OUTPUTS,
    PEERS,
    PULSE,
    RECORDER,
    RECORDINGS,
    RECORDS,
    RTC,
    SESSIONS,
    SETTINGS,
    STOPPING,
    STORE,
    TOKENS,
    TRACES,
    VOICES,
)
from server.listening import Listening, listening
from server.live import LiveFactory, LiveParts
from server.livetalking import api as livetalking
from server.load import Load
from server.load_sampler import LoadSampler
from server.logs import request_log
from server.machine import Machine
from server.metrics import Metrics
from server.openapi import api as openapi
from server.parts import (
    avatar_store,
    build_settings,
    choose_engine,
    language_model,
    outputs,
    recorder,
    rtc_settings,
    session_limits,
)
from server.problems import patient, problem_middleware
from server.pulse import Pulse
from server.recorder import api as recorder_api
from server.recorder import outputs_api
from server.recorder.figures import RecorderFigures
from server.recordings import Recordings
from server.records.figures import JournalFigures
from server.records.records import Records
from server.rtc.registry import PeerRegistry
from server.rtvi import api as rtvi
from server.sessions import Sessions
from server.settings import ROOT, Settings, SettingsError, unused_names
from server.traces import Traces
from server.version import version
from server.whep import add_whep_routes

log = structlog.get_logger(__name__)

STATIC = ROOT / "static"


def build_app(
    settings: Settings,
    *,
    engine: LipSyncEngine | None = None,
    book: VoiceBook | None = None,
    model: LanguageModel | None = None,
    recogniser: Recogniser | None = None,
    live: LiveFactory = LiveSession,
    keys: Keys | None = None,
) -> web.Application:
    """The whole server as an application that is not started yet. Raises SettingsError.

    engine, book, model, recogniser, live: other ones than the settings choose; for tests. keys: opened before.
    """
    started = time.monotonic()
    keys = open_keys(settings) if keys is None else keys
    limiter, guard = open_guard(settings.access, keys)
    app = web.Application(
        middlewares=[request_log, problem_middleware, guard, browser_guard(settings.server), patient],
        client_max_size=1 << 20,
    )
    why = "given"
    if engine is None:
        choice = choose_engine(settings)
        engine, why = choice.engine, choice.why
    book = book or VoiceBook()
    store = avatar_store(settings)
    records = Records(settings)
    rtc = rtc_settings(settings)
    model = model or language_model(settings)
    ears = listening(settings.listening) if recogniser is None else Listening(recogniser)
    metrics = Metrics(version())
    metrics.registry.register(JournalFigures(records.journal))
    traces = Traces(metrics.happened.turn, metrics.happened.interruption)
    speaker = Speaker(book, settings.voice.default)
    parts = LiveParts(
        settings, Faces(store, engine), speaker, model, ears, live, timings=metrics.timings, mark=traces.mark
    )
    tokens = open_tokens(settings.access)
    films, pushes = recorder(settings), outputs(settings, rtc)
    metrics.registry.register(RecorderFigures(films, pushes))
    machine = Machine()
    load = Load(machine.cores)
    sessions = Sessions(
        session_limits(settings),
        pushes.following(films.following(parts.open)),
        parts.close,
        capacity=getattr(engine, "capacity", lambda: None),
        load=load,
        observers=[metrics, traces, films, pushes, records.journal],
        tokens=tokens,
    )
    records.keeper.end_session = sessions.end_by_id
    for key, voice in _voices(settings):
        try:
            book.get(voice)
        except VoiceError as error:
            raise SettingsError(f"{key}: {error}") from error

    app[SETTINGS], app[STORE], app[RTC], app[RECORDS] = settings, store, rtc, records
    app[ENGINE], app[VOICES], app[MODEL], app[SESSIONS] = engine, book, model, sessions
    app[KEYS], app[TOKENS], app[LIMITER] = keys, tokens, limiter
    app[LISTENING], app[METRICS], app[RECORDER] = ears, metrics, films
    app[OUTPUTS] = pushes
    app[BUILDER] = AvatarBuilder(store, build_settings(settings), engine.prepare, ended=metrics.happened.built)
    app[LOAD_SAMPLER] = LoadSampler(load, sessions, machine)
    app[RECORDINGS] = Recordings(store.uploads, settings.sessions.audio_disk_mb << 20)
    app[PEERS] = PeerRegistry(rtc, first_picture=metrics.first_picture, left=metrics.links.left)
    app[PULSE] = Pulse(sessions, app[PEERS], late=metrics.happened.loop_late.observe, linked=metrics.links.looked)
    app[TRACES] = traces
    app[DRAIN] = Drain(sessions)
    app[STOPPING] = asyncio.Event()

    app.on_response_prepare.append(add_headers(settings))
    app.cleanup_ctx.append(_run_parts)
    app.on_shutdown.append(_stop_talking)

    avatars_api.add_routes(app)
    tutors_api.add_routes(app)
    records_api.add_routes(app)
    sessions_api.add_routes(app)
    access_api.add_routes(app)
    session_events.add_routes(app)
    recorder_api.add_routes(app)
    outputs_api.add_routes(app)
    livetalking.add_routes(app)
    add_whep_routes(app, sessions, app[PEERS], "/v1/sessions/{session_id}/whep")
    rtvi.add_routes(app, version())
    ws.add_routes(app)
    probes.add_routes(app)
    admin_api.add_routes(app)
    drain_api.add_routes(app)
    pages.add_routes(app, STATIC)
    openapi.add_routes(app, STATIC / "docs.html", version())

    figures = getattr(engine, "figures", None)

    async def health(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "status": "ok",
                "version": version(),
                "engine": engine.name,
                **({"renderer": figures()} if figures is not None else {}),
                "voice": book.resolve(settings.voice.default),
                "mode": speech.mode(app),
                "sessions": {
                    "active": sessions.awake,
                    "max": sessions.limits.max_sessions,
                    "total": len(sessions.all()),
                    "waiting": sessions.waiting,
                },
                "viewers": app[PEERS].count(),
                "uptime_seconds": round(time.monotonic() - started, 1),
            }
        )

    app.router.add_get("/health", health)
    log.info("engine_chosen", engine=engine.name, why=why)
    for name, reason in unused_names().items():
        log.warning("environment_name_unused", name=name, why=reason)
    return app


async def _run_parts(app: web.Application) -> AsyncIterator[None]:
    """Start the parts in order; close them in the opposite one, all of them, whatever fails."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app[KEYS].watched())
        stack.callback(app[ENGINE].close)
        stack.push_async_callback(app[RECORDS].close)
        await app[RECORDS].open()
        stack.push_async_callback(app[VOICES].close)
        await app[VOICES].warm_up()
        stack.push_async_callback(app[MODEL].close)
        await app[MODEL].warm_up()
        stack.push_async_callback(app[LISTENING].close)
        await app[LISTENING].start()
        stack.push_async_callback(app[BUILDER].close)
        await app[BUILDER].start()
        stack.push_async_callback(app[OUTPUTS].close)
        stack.push_async_callback(app[RECORDER].close)
        await app[RECORDER].start()
        stack.push_async_callback(app[SESSIONS].close)
        await app[SESSIONS].start()
        stack.push_async_callback(app[DRAIN].close)
        stack.push_async_callback(app[LOAD_SAMPLER].close)
        await app[LOAD_SAMPLER].start()
        stack.push_async_callback(app[PEERS].close)
        stack.push_async_callback(app[PULSE].close)
        await app[PULSE].start()
        yield


async def _stop_talking(app: web.Application) -> None:
    """At the beginning of the end: streams stop and sockets close, so that no handler is waited for."""
    app[STOPPING].set()
    await app[SESSIONS].close()


def _voices(settings: Settings) -> list[tuple[str, str]]:
    """Every voice that the settings name, with its key."""
    tutors = settings.model.tutors.items()
    own = [(f"model.tutors.{name}.voice", tutor.voice) for name, tutor in tutors if tutor.voice is not None]
    return [("voice.default", settings.voice.default), *own]
