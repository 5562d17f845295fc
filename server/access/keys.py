"""The keys of a running server: found by what a caller shows, and read anew when their file has changed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.access.key_file import FORM, FORM_ID, Key, KeyFileError, hash_of, read
from server.access.roles import Role

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0  # how often the file is looked at
SHORT = 20  # a server.api_key with fewer characters is warned of


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. key_id: of the key shown; None: none is needed here (a server of this machine only, without keys)."""

    role: Role
    key_id: str | None
    name: str = ""


class Keys:
    """Those of the file, and `server.api_key` as one admin's key more. `reload` may run in any thread."""

    def __init__(self, path: Path, api_key: str = "") -> None:
        """Reads the file. Raises KeyFileError."""
        self._path = path
        self._api_key = hash_of(api_key) if api_key else ""
        self._keys: dict[str, Key] = {}
        self._seen: object = None
        self._needed = bool(api_key)
        self._held: dict[object, tuple[Caller, Callable[[], None]]] = {}
        if 0 < len(api_key) < SHORT:
            log.warning("short_key", why="server.api_key can be guessed; make one with run.py keys add --role admin")
        self.reload()

    @property
    def count(self) -> int:
        """Of those in the file."""
        return len(self._keys)

    @property
    def needed(self) -> bool:
        """Whether callers must show a key: there is one, or was since the start. Removing the last opens nothing."""
        return self._needed

    def reload(self) -> int:
        """Read the file again; gives the number of keys in it. Raises KeyFileError, and then the old keys stay."""
        seen = self._look()
        found = read(self._path)
        if found.readable_by_others:
            log.warning("keys_file_readable", file=str(self._path), why=f"run: chmod 600 {self._path}")
        self._seen = seen
        self._keys = {key.id: key for key in found.keys}
        self._needed = self._needed or bool(found.keys)
        return len(self._keys)

    async def renew(self) -> int:
        """The same on another thread, and then the end of what keys hold that are good no more."""
        count = await asyncio.to_thread(self.reload)
        for caller, end in tuple(self._held.values()):
            if not self.good(caller):
                log.info("stream_ended_with_key", key=caller.key_id)
                end()
        return count

    def good(self, caller: Caller) -> bool:
        """Whether the key of somebody who was let in would be let in as before."""
        if caller.key_id is None or FORM_ID.fullmatch(caller.key_id) is None:  # none is needed; or server.api_key
            return True
        key = self._keys.get(caller.key_id)
        return key is not None and key.role == caller.role

    @contextmanager
    def held(self, caller: Caller, end: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `end` is called once the caller's key is good no more."""
        mark = object()
        self._held[mark] = (caller, end)
        try:
            yield
        finally:
            del self._held[mark]

    def known(self, shown: str) -> Caller | None:
        """Whose key that is, of the file; None: of nobody."""
        form = FORM.fullmatch(shown)
        key = self._keys.get(form[1]) if form is not None else None
        if form is None or key is None or not key.fits(form[2]):
            return None
        return Caller(key.role, key.id, key.name)

    def is_api_key(self, shown: str) -> bool:
        """Whether that is `server.api_key`. A person may have chosen it, so how often it is tried has to be limited."""
        return bool(self._api_key) and hmac.compare_digest(self._api_key, hash_of(shown))

    @property
    def has_api_key(self) -> bool:
        return bool(self._api_key)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While the block runs, a changed file is read within LOOK_SECONDS."""
        watch = asyncio.create_task(self._watch(), name="keys-watch")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if await asyncio.to_thread(self._look) != self._seen:
                    log.info("keys_reloaded", keys=await self.renew())
            except KeyFileError as error:
                self._seen = await asyncio.to_thread(self._look)  # told once; the old keys stay until it is mended
                log.error("keys_not_reloaded", why=str(error))
            except Exception:
                log.exception("keys_watch_failed")

    def _look(self) -> object:
        """What tells one state of the file from another."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode
