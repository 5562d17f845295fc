"""The avatars on disk: listed, opened once for all who use them, counted while in use, deleted, cleaned up."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import uuid
import zipfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType

import numpy as np
from pydantic import ValidationError

from avatars import in_use, master
from avatars.avatar import Avatar, Faces
from avatars.errors import AvatarError
from avatars.folders import make_private
from avatars.imports import disk_error
from avatars.record import FORMAT_VERSION, AvatarRecord, check_id
from avatars.usage import Marks, Usage, measure, touch

RECORD, FACES, PREVIEW = "avatar.json", "faces.npz", "preview.jpg"
BUILDING, TRASH, UPLOADS = ".building", ".trash", ".uploads"
log = logging.getLogger(__name__)


class Lease:
    """A promise that an avatar is in use: it is neither deleted nor does it lose its cache. A context manager."""

    def __init__(self, store: AvatarStore, avatar: Avatar) -> None:
        self.avatar = avatar
        self._store: AvatarStore | None = store

    def release(self) -> None:
        """Give it back; again is harmless."""
        store, self._store = self._store, None
        if store is not None:
            store._release(self.avatar.id)

    def __enter__(self) -> Avatar:
        return self.avatar

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class AvatarStore:
    """The avatars under `root`. Thread-safe; every method blocks for file work, `open` and `lease` perhaps for seconds.

    cache_bytes: what all frames.i420 may take together; the least recently used go first, those in use never.
    `uploads` is a folder on the same disk where a server may stream uploads to; `recover` empties it.
    """

    def __init__(self, root: Path, *, cache_bytes: int) -> None:
        self.root = root.resolve()
        self.uploads = self.root / UPLOADS
        self.building = self.root / BUILDING
        self._cache_bytes = cache_bytes
        self._lock = threading.RLock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: dict[str, tuple[datetime, Avatar]] = {}
        self._leases: dict[str, int] = {}
        self._holds: dict[str, int] = {}  # file handles, locked
        self._live: dict[str, AvatarRecord] = {}
        self._marks = Marks()
        for folder in (self.root, self.uploads, self.building, self.root / TRASH):
            make_private(folder)

    # -- records

    def list(self) -> list[AvatarRecord]:
        """All avatars, in whatever state, the oldest first."""
        ids = {p.name for folder in (self.root, self.building) for p in _folders(folder)}
        found = [record for avatar_id in ids if (record := self._find(avatar_id)) is not None]
        return sorted(found, key=lambda r: (r.created_at, r.id))

    def get(self, avatar_id: str) -> AvatarRecord:
        """Raises AvatarError: invalid_id, not_found."""
        record = self._find(check_id(avatar_id))
        if record is None:
            raise AvatarError("not_found")
        return record

    def update(self, record: AvatarRecord, *, persist: bool = True) -> None:
        """Replace an avatar's record. persist False: progress of a build, which needs no disk."""
        with self._lock:
            folder = self.folder(record.id)
            if record.state == "ready" and (folder / RECORD).exists():
                self._live.pop(record.id, None)
            else:
                folder = self.building / record.id
                self._live[record.id] = record
            if persist:
                write_record(folder, record)

    def forget(self, avatar_id: str) -> None:
        """Drop what is held in memory of an avatar that is built or given up."""
        with self._lock:
            self._live.pop(avatar_id, None)

    def folder(self, avatar_id: str) -> Path:
        """Where a ready avatar lies (or will). Raises AvatarError("invalid_id")."""
        return self.root / check_id(avatar_id)

    def preview(self, avatar_id: str) -> Path:
        """The preview picture of a ready avatar. Raises AvatarError."""
        path = self.folder(avatar_id) / PREVIEW
        if self.get(avatar_id).state != "ready" or not path.is_file():
            raise AvatarError("not_found")
        return path

    def _find(self, avatar_id: str) -> AvatarRecord | None:
        ready = read_record(self.root / avatar_id)
        if ready is not None and ready.state == "ready":
            return ready
        with self._lock:
            live = self._live.get(avatar_id)
        # Its build may have been published between the looks: then it is in its place now.
        return live or read_record(self.building / avatar_id) or read_record(self.root / avatar_id)

    # -- use

    def open(self, avatar_id: str) -> Avatar:
        """The avatar, one object for all. Makes frames.i420 when it is missing (about 5 ms a frame).

        Raises AvatarError: invalid_id, not_found, not_ready, damaged, disk_full.
        """
        with self.lease(avatar_id) as avatar:
            return avatar

    def lease(self, avatar_id: str) -> Lease:
        """Open an avatar and keep it until the lease is released. Raises AvatarError as `open`."""
        record = self.get(avatar_id)
        if record.state != "ready":
            raise AvatarError("not_ready")
        with self._lock:
            self._leases[avatar_id] = self._leases.get(avatar_id, 0) + 1
            one_at_a_time = self._opening.setdefault(avatar_id, threading.Lock())
        try:
            with one_at_a_time:
                self._hold(avatar_id)
                # Another process may have deleted it and made it anew since.
                made, avatar = self._open.get(avatar_id, (None, None))
                if avatar is None or made != record.created_at:
                    avatar = open_folder(self.folder(avatar_id), record)
                    with self._lock:
                        self._open[avatar_id] = (record.created_at, avatar)
                with contextlib.suppress(FileNotFoundError):
                    os.utime(avatar.path / master.CACHE)  # last use: what the limit of the cache goes by
        except BaseException:
            self._release(avatar_id)
            self.get(avatar_id)  # deleted in the meantime: say that instead
            raise
        self.trim()
        return Lease(self, avatar)

    def leases(self, avatar_id: str) -> int:
        """How many leases are held on an avatar."""
        with self._lock:
            return self._leases.get(avatar_id, 0)

    def used(self, avatar_id: str) -> None:
        """A session begins or ends on it: written down, at most once an hour. A full disk is no reason to fail."""
        if self._marks.due(avatar_id):
            try:
                touch(self.folder(avatar_id))
            except OSError as error:
                log.warning("that %s was used cannot be written down: %s", avatar_id, error.strerror)

    def usage(self, avatar_id: str) -> Usage:
        """What an avatar, in whatever state, takes on disk, and when a session last used it. Raises invalid_id."""
        folder = self.folder(avatar_id)
        return measure(folder if folder.is_dir() else self.building / avatar_id)

    def shown(self, avatar_id: str) -> bool:
        """Whether any process shows an avatar now. Raises AvatarError."""
        if self.leases(avatar_id):
            return True
        with in_use.alone(self.folder(avatar_id)) as alone:
            return not alone

    def _release(self, avatar_id: str) -> None:
        with self._lock:
            left = self._leases.get(avatar_id, 0) - 1
            if left > 0:
                self._leases[avatar_id] = left
                return
            self._leases.pop(avatar_id, None)
            handle = self._holds.pop(avatar_id, None)
            if handle is not None:
                os.close(handle)

    def _hold(self, avatar_id: str) -> None:
        """Let other processes know that an avatar is in use here. To be called with a lease on it."""
        if avatar_id in self._holds:
            return
        handle = in_use.hold(self.root / avatar_id)
        with self._lock:
            if self._holds.setdefault(avatar_id, handle) != handle:
                os.close(handle)

    def trim(self) -> None:
        """Remove the caches that are over the limit, the least recently used first."""
        with self._lock:
            caches = []
            for folder in _folders(self.root):
                with contextlib.suppress(FileNotFoundError):
                    facts = (folder / master.CACHE).stat()
                    caches.append((facts.st_mtime_ns, facts.st_size, folder))
            total = sum(size for _, size, _ in caches)
            for _, size, folder in sorted(caches):
                if total <= self._cache_bytes:
                    return
                if self._leases.get(folder.name):
                    continue
                with contextlib.suppress(AvatarError), in_use.alone(folder) as alone:
                    if not alone:
                        continue
                    self._open.pop(folder.name, None)
                    (folder / master.CACHE).unlink(missing_ok=True)
                    total -= size

    # -- the end

    def delete(self, avatar_id: str) -> None:
        """Delete a ready or failed avatar. Raises AvatarError: invalid_id, not_found, in_use (by any process; also
        while it is built: the builder deletes those)."""
        record = self.get(avatar_id)
        with self._lock:
            if self._leases.get(avatar_id):
                raise AvatarError("in_use")
            if record.state == "preparing":
                raise AvatarError("in_use", "This avatar is being prepared. Wait until it is ready, then delete it.")
            with in_use.alone(self.root / avatar_id) as alone:
                if not alone:
                    raise AvatarError("in_use", "This avatar is in use by a running Lectern. End its sessions first.")
                self._open.pop(avatar_id, None)
                self._opening.pop(avatar_id, None)
                self._live.pop(avatar_id, None)
                self._marks.forget(avatar_id)
                # Out of sight in one step, so that a crash in between leaves no half avatar.
                gone = [self._discard(folder) for folder in (self.root / avatar_id, self.building / avatar_id)]
        if not any(gone):
            raise AvatarError("not_found")

    def _discard(self, folder: Path) -> bool:
        trash = self.root / TRASH / uuid.uuid4().hex
        try:
            os.rename(folder, trash)
        except FileNotFoundError:
            return False
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def clean(self) -> None:
        """Remove leftovers of an earlier run: uploads, the trash, unfinished caches. Call once, at start."""
        for folder in (self.uploads, self.root / TRASH):
            for leftover in folder.iterdir():
                log.info("removing leftover %s", leftover.name)
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
        for folder in _folders(self.root):
            for part in folder.glob("*.part"):
                part.unlink(missing_ok=True)
            if read_record(folder) is None:
                log.warning("%s holds no readable %s: it is left alone and not shown", folder.name, RECORD)


def _folders(root: Path) -> Iterable[Path]:
    """Folders whose name is an avatar's id."""
    for path in root.iterdir():
        try:
            check_id(path.name)
        except AvatarError:
            continue
        if path.is_dir() and not path.is_symlink():
            yield path


def read_record(folder: Path) -> AvatarRecord | None:
    """The record in a folder; None if there is none, or none of its own, or of a newer format."""
    try:
        record = AvatarRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.id == folder.name and record.format_version <= FORMAT_VERSION else None


def write_record(folder: Path, record: AvatarRecord) -> None:
    """Write avatar.json whole or not at all. Raises AvatarError("disk_full")."""
    part = folder / f"{RECORD}.part"
    try:
        with part.open("wb") as file:
            file.write(record.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / RECORD)
    except OSError as error:
        raise disk_error(error) from error


def open_folder(folder: Path, record: AvatarRecord) -> Avatar:
    """Open the avatar in a folder (also one that is still being built). Raises AvatarError: damaged, disk_full."""
    size = (record.width, record.height, record.frames)
    try:
        if not master.cache_is_good(folder, *size):
            master.make_cache(folder, *size)
        cache = master.CacheFile(folder, *size)
        with np.load(folder / FACES, allow_pickle=False) as data:
            faces = Faces(data["landmarks"], data["box"], data["mouth"])
    except OSError as error:
        problem = disk_error(error)
        raise problem if problem.code == "disk_full" else AvatarError("damaged") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise AvatarError("damaged") from error
    if not len(faces.landmarks) == len(faces.box) == len(faces.mouth) == record.frames:
        raise AvatarError("damaged")
    return Avatar(record.id, folder, record.width, record.height, cache.frames, faces, record.still, cache)
