"""The folder of recordings: a film and its record each, locked by the process that writes it. Blocks for file work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from server.recorder.mending import mend
from server.recorder.record import PART, TYPES, Record, read_record, write_record

log = structlog.get_logger(__name__)


class Shelf:
    """The folder is made with the first recording, readable for the server's own user only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> list[Record]:
        """Every record whose film is there, the oldest first; what a deletion left half done is finished."""
        found = []
        self._clear()
        for path in self.folder.glob("*.json") if self.folder.is_dir() else ():
            record = read_record(path)
            if record is None or record.id != path.stem:
                log.warning("recording_record_unreadable", path=str(path))
            elif not self.film(record).exists():
                path.unlink(missing_ok=True)
            else:
                found.append(record)
        return sorted(found, key=lambda record: record.started_at)

    def _clear(self) -> None:
        """Remove what a kill left of records that were being written, but nothing of a process that writes now."""
        for part in self.folder.glob(f"*{PART}") if self.folder.is_dir() else ():
            films = [part.with_suffix(f".{kind}") for kind in TYPES]
            with contextlib.ExitStack() as locks:
                if all(locks.enter_context(_alone(film)) for film in films if film.exists()):
                    part.unlink(missing_ok=True)

    def film(self, record: Record) -> Path:
        return self.folder / record.film

    def begin(self, record: Record) -> int:
        """A film that is empty, and its record. Gives the handle that locks it; it is to be closed at the end.

        Raises OSError.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        film = self.film(record)
        handle = os.open(film, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.save(record)
        except BaseException:
            os.close(handle)
            film.unlink(missing_ok=True)
            raise
        return handle

    def save(self, record: Record) -> None:
        """Raises OSError."""
        write_record(self.folder / f"{record.id}.json", record)

    def size(self, record: Record) -> int:
        """Bytes of the film now."""
        try:
            return self.film(record).stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self, record: Record) -> None:
        """Film first: a record without one is finished off by `load`. Raises OSError."""
        self.film(record).unlink(missing_ok=True)
        (self.folder / f"{record.id}.json").unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that are free on the folder's disk."""
        folder = self.folder
        while not folder.is_dir():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def settle(self, record: Record) -> Record:
        """A record that says "recording", though this process records nothing of it: as it is now.

        Another process may be at it still; if it was killed, the film is mended and the record says so. Raises OSError.
        """
        with _alone(self.film(record)) as alone:
            if not alone:
                return record
            now = read_record(self.folder / f"{record.id}.json") or record
            if now.state != "recording":
                return now
            film = self.film(record)
            until = datetime.fromtimestamp(film.stat().st_mtime, UTC)
            seconds = mend(film)
            ended = now.model_copy(
                update={
                    "state": "cut_off",
                    "reason": "killed",
                    "seconds": seconds,
                    "bytes": self.size(record),
                    "ended_at": until,
                }
            )
            self.save(ended)
            log.warning("recording_was_cut_off", recording=record.id, seconds=seconds)
            return ended


@contextlib.contextmanager
def _alone(film: Path) -> Iterator[bool]:
    """Whether no process writes the film."""
    with film.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
