"""`run.py doctor`: what is installed, which engines, voices and encoders work here, and how to mend what doesn't."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from avatars.folders import make_private
from server.main import free_port
from server.settings import ROOT, Settings, SettingsError, unused_names

State = Literal["ok", "note", "bad"]


_FETCH_FACES = ".venv/bin/python run.py models fetch faces"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, how it is (`bad` stops the server from working well), and what to do about it."""

    what: str
    state: State
    found: str
    mend: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; never raises: what fails becomes a row. Takes a few seconds."""
    checks: list[Callable[[], Finding]] = [
        _python,
        *[lambda name=name: _package(name) for name in ("aiohttp", "aiortc", "av", "opencv-python-headless", "numpy")],
        lambda: _encoder("libx264", "H.264 video"),
        lambda: _encoder("libvpx", "VP8 video"),
        lambda: _encoder("libopus", "Opus sound"),
        _face_models,
        _hibari,
        _edge,
        lambda: _model(settings),
        lambda: _listening(settings),
        _warp,
        lambda: _musetalk(settings),
        lambda: _keys(settings),
        lambda: _folder(settings.avatars.dir),
        lambda: _disk(settings.avatars.dir),
        lambda: _database(settings),
        lambda: _port(settings.server.host, settings.server.port),
        *_network(settings),
    ]
    findings = [_safely(check) for check in checks]
    findings += [Finding(name, "note", "set, has no effect", why) for name, why in unused_names().items()]
    return findings


def report(findings: list[Finding]) -> str:
    """The findings as a table for a terminal."""
    words = {"ok": "ok", "note": "note", "bad": "BAD"}
    rows = [("what", "", "found", "what to do")] + [(f.what, words[f.state], f.found, f.mend) for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows
    ]
    return "\n".join(lines)


def closing(findings: list[Finding], settings: Settings) -> str:
    """What to do next, in a sentence or two."""
    bad = [finding for finding in findings if finding.state == "bad"]
    if bad:
        first = f"{bad[0].what}: {bad[0].mend or bad[0].found}"
        more = f", then the other {len(bad) - 1} marked BAD" if len(bad) > 1 else ""
        return f"Mend this first: {first}{more}. Then look again: make doctor"
    host, port = settings.server.host, settings.server.port
    page = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}/"
    if any(finding.what == _port_name(port) and finding.state != "ok" for finding in findings):
        return (
            f"Everything that is needed works, but port {port} is taken. If that is Lectern, open {page} ; "
            f"if not: LECTERN_SERVER__PORT={free_port(host, port)} make run"
        )
    return f"Everything that is needed works. Start with: make run, then open {page} (teachers: {page}teacher)."


def _port_name(port: int) -> str:
    return f"port {port}"


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what this command is there to show
        name = getattr(check, "__name__", "check").strip("_").replace("_", " ")
        return Finding(name, "bad", f"{type(error).__name__}: {error}"[:120], "see the message")


def _database(settings: Settings) -> Finding:
    from server.records.offline import look

    found = look(settings)
    mend = "" if found.usable else "see records.database_url (DATABASE_URL) in config.yaml, and docs/integration.md"
    return Finding("database", "ok" if found.usable else "bad", found.words, mend)


def _python() -> Finding:
    version = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "bad", version, "" if good else "Python 3.11 or newer is needed")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "bad", "missing", "make setup")


def _encoder(codec: str, what: str) -> Finding:
    import av

    label = f"encoder {codec} ({what})"
    start = time.perf_counter()
    if codec == "libopus":
        sound = av.CodecContext.create(codec, "w")
        assert isinstance(sound, av.AudioCodecContext)
        sound.sample_rate, sound.layout, sound.format = 48000, "mono", "s16"
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        quiet.sample_rate = 48000
        packets = [*sound.encode(quiet), *sound.encode(None)]
    else:
        picture = av.CodecContext.create(codec, "w")
        assert isinstance(picture, av.VideoCodecContext)
        picture.width, picture.height, picture.pix_fmt = 320, 240, "yuv420p"
        picture.time_base = Fraction(1, 25)
        frame = av.VideoFrame(320, 240, "yuv420p")
        packets = [*picture.encode(frame), *picture.encode(None)]
    if not packets:
        return Finding(label, "bad", "gave no packet", "reinstall PyAV: .venv/bin/pip install --force-reinstall av")
    return Finding(label, "ok", f"works ({(time.perf_counter() - start) * 1000:.0f} ms)")


def _face_models() -> Finding:
    from avatars.models import ModelsMissing, find

    try:
        models = find()
    except ModelsMissing as missing:
        return Finding("face models", "bad", str(missing).splitlines()[0][:100], _FETCH_FACES)
    if models.segmentation is None:
        return Finding("face models", "note", "no segmentation: backgrounds can't be blurred", _FETCH_FACES)
    return Finding("face models", "ok", str(models.landmarks.parent.relative_to(ROOT)))


def _hibari() -> Finding:
    from pipeline.voices.hibari import HibariVoice

    async def first_chunk() -> float:
        voice = HibariVoice()
        try:
            async for _ in voice.speak("Ready."):
                break
            start = time.perf_counter()
            async for _ in voice.speak("Hello, and welcome to the lesson."):
                break
            return time.perf_counter() - start
        finally:
            await voice.close()

    took = asyncio.run(asyncio.wait_for(first_chunk(), 30))
    return Finding("voice hibari (built in, English)", "ok", f"first sound after {took * 1000:.0f} ms")


def _edge() -> Finding:
    label = "voice edge (online, many languages)"
    try:
        with socket.create_connection(("speech.platform.bing.com", 443), timeout=3):
            return Finding(label, "ok", "its service answers")
    except OSError:
        return Finding(
            label, "note", "its service can't be reached", "the built-in voice is used; edge needs the internet"
        )


def _model(settings: Settings) -> Finding:
    from pipeline.history import Message
    from pipeline.language_model import ModelError, OpenAIModel

    label = "language model"
    client = settings.model.client()
    if client is None:
        return Finding(label, "note", "none; the tutor repeats what is typed", "set model.base_url and model.name")

    async def first_word() -> float:
        model = OpenAIModel(client)
        await model.warm_up()
        stream = model.stream([Message("user", "Say yes.")])
        start = time.perf_counter()
        try:
            await anext(stream)
            return time.perf_counter() - start
        finally:
            await stream.aclose()
            await model.close()

    try:
        took = asyncio.run(first_word())
    except ModelError as error:
        return Finding(label, "bad", str(error)[:120], "is it running, and are model.base_url, name and api_key right?")
    return Finding(label, "ok", f"{client.name}: first word after {took * 1000:.0f} ms")


def _listening(settings: Settings) -> Finding:
    from server.listening_commands import try_recogniser

    return Finding("listening (speech to text)", *try_recogniser(settings))


def _warp() -> Finding:
    importlib.import_module("pipeline.lipsync.warp.engine")
    from pipeline.lipsync.warp.speech_analyser import WarpAnalyser
    from pipeline.media import SpeechChunk

    analyser = WarpAnalyser()
    noise = np.random.default_rng(0).normal(0, 3000, 48_000).astype(np.int16)
    start = time.perf_counter()
    mouths = [*analyser.feed(SpeechChunk(noise)), *analyser.finish()]
    took = (time.perf_counter() - start) * 1000 / max(1, len(mouths))
    state: State = "ok" if len(mouths) == 25 else "bad"
    return Finding("engine warp (CPU)", state, f"sound to mouth {took:.2f} ms a frame")


def _musetalk(settings: Settings) -> Finding:
    label = "engine musetalk (GPU)"
    if not settings.lipsync.enable_musetalk:
        return Finding(label, "note", "off; warp is used", "ENABLE_MUSETALK=true and MUSETALK_BASE turn it on")
    from server.parts import musetalk_obstacle

    base = settings.lipsync.musetalk_base
    obstacle = musetalk_obstacle(base, settings.musetalk.version)
    if obstacle is not None:
        return Finding(label, "bad", "asked for, but cannot run here; warp is used", obstacle.why)
    return Finding(label, "ok", f"version {settings.musetalk.version} in {base}")


def _keys(settings: Settings) -> Finding:
    """Who may call; what is wrong here keeps the server from starting."""
    from server.access.start import command, open_keys

    try:
        keys = open_keys(settings)
    except SettingsError as error:
        first, _, todo = str(error).partition("\n")
        return Finding("keys", "bad", first, todo.strip())
    if keys.needed:
        return Finding("keys", "ok", f"{keys.count} of run.py keys{', and server.api_key' if keys.has_api_key else ''}")
    return Finding(
        "keys",
        "note",
        "none: everybody on this machine may do everything",
        f"{command('keys add --role admin')} makes one",
    )


def _folder(folder: Path) -> Finding:
    make_private(folder)
    with tempfile.NamedTemporaryFile(dir=folder):
        return Finding("avatars folder", "ok", f"{folder} can be written")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    state: State = "ok" if free > 5 else "note" if free > 1 else "bad"
    return Finding(
        "free disk", state, f"{free:.0f} GB", "" if state == "ok" else "an avatar takes up to 1 GB; free some space"
    )


def _port(host: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(_port_name(port), "note", f"{error.strerror}", "is Lectern running? else: --port")
    return Finding(_port_name(port), "ok", f"free on {host}")


def _network(settings: Settings) -> list[Callable[[], Finding]]:
    """The checks of what is set about WebRTC's ways; docs/networks.md has more."""
    from server.parts import rtc_settings

    try:
        rtc = rtc_settings(settings)
    except SettingsError as error:
        wrong = Finding("WebRTC settings", "bad", str(error), "set them right: docs/networks.md")
        return [lambda: wrong]

    def ports() -> Finding:
        from server.rtc.checks import free_ports

        what = f"UDP ports {rtc.port_min}-{rtc.port_max}"
        free = len(free_ports(rtc))
        if free == 0:
            return Finding(
                what, "bad", "all are taken", "another program has them: choose others (WEBRTC_PORT_MIN, _MAX)"
            )
        return Finding(what, "ok", f"{free} free; one carries all viewers")

    def relay() -> Finding:
        from server.rtc.checks import try_turn

        works, found = asyncio.run(try_turn(rtc))
        label = f"TURN server {rtc.own_turn_url}"
        if works:
            return Finding(label, "ok", f"relays from {found}")
        return Finding(label, "bad", "gives no relay", found)

    return [*([ports] if rtc.port_min else []), *([relay] if rtc.own_turn_url else [])]
