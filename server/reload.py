"""SIGHUP: keys and limits are read again; what runs is not touched, and what is wrong changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from pydantic import SecretStr

from server.access.key_file import KeyFileError
from server.access.start import rates
from server.keys import KEYS, LIMITER, RECORDINGS, SESSIONS, SETTINGS
from server.parts import session_limits
from server.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

NOW = frozenset(
    {
        "server.drain_seconds",
        "access.requests_per_minute",
        "access.sessions_per_minute",
        "access.uploads_per_minute",
        "access.failures_per_minute",
    }
)
"""Keys that change in a running server, beside all of `sessions`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs, as "group.key"; old and new as they may be shown."""

    key: str
    old: str
    new: str

    @property
    def now(self) -> bool:
        """Whether it needs no restart."""
        return self.key in NOW or self.key.startswith("sessions.")


def changes(old: Settings, new: Settings) -> list[Change]:
    """What differs, in the order of config.yaml. Pure."""
    found = []
    for group in Settings.model_fields:
        before, after = getattr(old, group), getattr(new, group)
        for key in type(before).model_fields:
            was, is_now = getattr(before, key), getattr(after, key)
            if was != is_now:
                found.append(Change(f"{group}.{key}", _shown(was), _shown(is_now)))
    return found


def _shown(value: Any) -> str:
    return "(secret)" if isinstance(value, SecretStr) else str(value)


class Reloader:
    """Owns the task that reads again whenever it is asked to; several times at once is once."""

    def __init__(self, app: web.Application, load: Callable[[], Settings]) -> None:
        """load: reads the settings as at the start. Blocking, raises SettingsError."""
        self._app = app
        self._load = load
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reload")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ask(self) -> None:
        """Read again soon."""
        self._asked.set()

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.reload()
            except Exception:
                log.exception("reload_failed")

    async def reload(self) -> None:
        """Keys and settings, each by itself: a mistake in one keeps nobody from the other."""
        try:
            log.info("keys_reloaded", keys=await self._app[KEYS].renew())
        except KeyFileError as error:
            log.error("keys_not_reloaded", why=str(error))
        try:
            new = await asyncio.to_thread(self._load)
        except SettingsError as error:
            log.error("settings_not_reloaded", why=str(error), kept="the settings in force stay")
            return
        self._adopt(new)

    def _adopt(self, new: Settings) -> None:
        app, settings = self._app, self._app[SETTINGS]
        found = changes(settings, new)
        settings.adopt(new, {change.key for change in found if change.now})
        app[SESSIONS].set_limits(session_limits(settings))
        app[RECORDINGS].set_room(settings.sessions.audio_disk_mb << 20)
        if any(change.key.startswith("access.") for change in found):
            app[LIMITER].set(rates(settings.access))
        log.info(
            "settings_reloaded",
            changed={change.key: f"{change.old} -> {change.new}" for change in found if change.now},
            need_a_restart=[change.key for change in found if not change.now],
        )
