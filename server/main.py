"""Serving: listens, says where the pages are, and ends in good order on SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import socket
import sys
from collections.abc import Callable
from functools import partial

import structlog
from aiohttp import web

from pipeline import memory
from server import logs
from server.access.keys import Keys
from server.access.start import open_keys
from server.front import raise_file_limit, runner_of
from server.loop_meter import MeteredLoop
from server.notify import notify
from server.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

SWITCH_SECONDS = 0.0005
"""For which a thread may keep Python's lock from the others (Python's own: 5 ms): the event loop asks for it anew after
each packet that it sends, while mouths are drawn (docs/decisions.md)."""

SAMPLE_SECONDS = 90.0  # to prepare the sample tutor, on the first start only


def serve(settings: Settings, load: Callable[[], Settings] | None = None) -> int:
    """Run the server until it is told to stop; gives the exit status. Blocking.

    load: reads the settings as they were read for the start, for SIGHUP; None: they stay as they are.
    """
    logs.configure(settings.server)
    memory.give_back_large_blocks()
    sys.setswitchinterval(SWITCH_SECONDS)
    raise_file_limit()
    try:
        keys = open_keys(settings)
    except SettingsError as error:
        return _settings_wrong(error)
    try:
        listening = _listen(settings.server.host, settings.server.port)
    except OSError as error:
        print(f"Lectern cannot start: {_why_not(settings, error)}", file=sys.stderr)
        return 1
    try:
        with asyncio.Runner(loop_factory=MeteredLoop) as loop:
            loop.run(_run(settings, listening, keys, load or (lambda: settings)))
    except SettingsError as error:
        return _settings_wrong(error)
    finally:
        listening.close()
    return 0


def _settings_wrong(error: SettingsError) -> int:
    print(f"Lectern cannot start: {error.what}.\n{error}", file=sys.stderr)
    return 1


async def _run(settings: Settings, listening: socket.socket, keys: Keys, load: Callable[[], Settings]) -> None:
    from server.app import build_app  # media and speech libraries: loaded once the port is ours
    from server.ending import Ending, listen_for_signals
    from server.keys import DRAIN, SESSIONS
    from server.reload import Reloader

    app = build_app(settings, keys=keys)
    runner = runner_of(app)
    sessions = app[SESSIONS]
    ending = Ending(
        app[DRAIN],
        seconds=lambda: settings.server.drain_seconds,
        connected=lambda: sum(sessions.connected(session) > 0 for session in sessions.all()),
        say=partial(print, flush=True),
    )
    reloader = Reloader(app, load)
    listen_for_signals(asyncio.get_running_loop(), ending, reloader.ask)
    sample: asyncio.Task[None] | None = None
    try:
        await runner.setup()
        await web.SockSite(runner, listening, backlog=256).start()
        reloader.start()
        sample = asyncio.create_task(_make_sample(app, settings), name="sample")
        stopping = asyncio.create_task(ending.wait(), name="ending")
        # The first visitor can talk at once: "ready" is said when the sample is there, too.
        await asyncio.wait({sample, stopping}, timeout=SAMPLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        memory.settle()
        if not ending.asked.is_set():
            _announce(settings, listening)
            notify("READY=1")
        await stopping
        log.info("stopping")
    finally:
        notify("STOPPING=1")
        await reloader.close()
        if sample is not None:
            sample.cancel()
            await asyncio.gather(sample, return_exceptions=True)
        await runner.cleanup()


async def _make_sample(app: web.Application, settings: Settings) -> None:
    """On the first start, with no avatar there, the sample tutor is prepared; the server already answers meanwhile."""
    from avatars.errors import AvatarError
    from server.keys import BUILDER, STORE
    from server.sample import sample_made, sample_order

    store, builder, folder = app[STORE], app[BUILDER], settings.avatars.dir
    try:
        order = sample_order(store, folder)
        others = await asyncio.to_thread(store.list)
        if order is None or others:
            return
        print("Preparing the sample tutor (once, some seconds) …", flush=True)
        await builder.submit(order)
        await asyncio.to_thread(sample_made, folder)
        record = await builder.wait(order.avatar_id)
        log.info("sample_tutor", state=record.state, error=record.error.code if record.error else None)
    except AvatarError as error:
        log.warning("sample_tutor_missing", code=error.code, why=str(error))
    except Exception:
        log.exception("sample_tutor_failed")


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; bound before anything is loaded, so that a taken port is told at once."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _why_not(settings: Settings, error: OSError) -> str:
    host, port = settings.server.host, settings.server.port
    if error.errno == errno.EADDRINUSE:
        another = _command(free_port(host, port))
        return f"port {port} is in use, perhaps by another Lectern. Stop that, or choose another port:\n  {another}"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user; choose one above 1023 (server.port)."
    return f"it cannot listen on {host} port {port} (server.host, server.port): {error.strerror or error}."


def free_port(host: str, taken: int) -> int:
    """The next port that is free now; where none of the next hundred is, the one after `taken`."""
    for port in range(taken + 1, min(taken + 101, 65536)):
        with contextlib.suppress(OSError):
            _listen(host, port).close()
            return port
    return taken + 1 if taken < 65535 else 9000


def _command(port: int) -> str:
    """What this process was started with, for another port, as it can be typed."""
    if "MAKELEVEL" in os.environ:  # by make, which takes no arguments of ours
        return f"LECTERN_SERVER__PORT={port} make run"
    python, here = sys.executable, os.getcwd() + os.sep
    words = [python.removeprefix(here), *sys.argv]
    kept = [
        word for word, before in zip(words, ["", *words], strict=False) if before != "--port" and "--port" not in word
    ]
    return shlex.join([*kept, "--port", str(port)])


def _announce(settings: Settings, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    base = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    lines = [
        "",
        "Lectern is ready.",
        f"  student page   {base}/",
        f"  teacher page   {base}/teacher",
        f"  operations     {base}/admin",
        f"  server's state {base}/health   (docs/api.md has the other addresses)",
    ]
    if shown != host:
        lines.append(f"  from other machines: this machine's name or address, port {port}")
    lines.append("  Ctrl+C stops it.")
    print("\n".join(lines), flush=True)
    log.info("ready", url=base, voice=settings.voice.default)
