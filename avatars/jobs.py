"""A build's own folder: the kept upload, the order, how often it was tried, and a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from avatars.errors import MESSAGES, AvatarError
from avatars.imports import disk_error, take
from avatars.record import AvatarRecord, BuildRequest, Problem, check_id
from avatars.sniff import sniff
from avatars.store import RECORD, AvatarStore, read_record, write_record

MAX_ATTEMPTS = 2
_ORDER, _SOURCE, _LOCK, _OUTPUT = "order.json", "source", "lock", "avatar"
log = logging.getLogger(__name__)


class Order(BaseModel):
    """What order.json holds."""

    request: BuildRequest
    attempts: int = 0


class Job:
    """`<root>/.building/<id>/`, locked (flock) while a process works on it. All methods block for file work."""

    def __init__(self, folder: Path) -> None:
        self.id = folder.name
        self.folder = folder
        self.source = folder / _SOURCE
        self.output = folder / _OUTPUT
        self._lock: int | None = None

    def lock(self) -> bool:
        """Take the lock; False when another process has it."""
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)

    def order(self) -> Order | None:
        try:
            return Order.model_validate_json((self.folder / _ORDER).read_bytes())
        except (OSError, ValidationError):
            return None

    def write_order(self, order: Order) -> None:
        part = self.folder / f"{_ORDER}.part"
        try:
            part.write_bytes(order.model_dump_json().encode())
            os.replace(part, self.folder / _ORDER)
        except OSError as error:
            raise disk_error(error) from error

    def clear(self) -> None:
        """Remove what an attempt has made so far, and make room for the next."""
        shutil.rmtree(self.output, ignore_errors=True)

    def give_up(self, record: AvatarRecord) -> None:
        """Keep the failed record for the teacher, nothing else."""
        self.clear()
        self.source.unlink(missing_ok=True)
        write_record(self.folder, record)

    def discard(self) -> None:
        # The record goes first: without it the folder is nothing that anybody shows or resumes.
        (self.folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.unlock()


def accept(store: AvatarStore, request: BuildRequest, *, max_bytes: int, min_free_bytes: int) -> Job:
    """Make the locked folder of a new build and take the video in. A failed avatar of the same id is replaced.

    Raises AvatarError: invalid_id, exists, disk_full, and those of `take` and `sniff`.
    """
    avatar_id = check_id(request.avatar_id)
    folder = store.building / avatar_id
    if store.folder(avatar_id).exists():
        raise AvatarError("exists")
    old = read_record(folder)
    if old is not None and old.state == "failed":
        with contextlib.suppress(AvatarError):  # somebody else has just deleted it
            store.delete(avatar_id)
    try:
        folder.mkdir()
    except FileExistsError:
        raise AvatarError("exists") from None
    except OSError as error:
        raise disk_error(error) from error
    job = Job(folder)
    try:
        if not job.lock():
            raise AvatarError("exists")
        if shutil.disk_usage(folder).free < min_free_bytes:
            raise AvatarError("disk_full")
        take(request.video, job.source, move=request.move, max_bytes=max_bytes)
        sniff(job.source)  # what is no video at all needs no child to say so
    except BaseException:
        job.discard()
        raise
    return job


def recover(store: AvatarStore) -> Iterator[Job]:
    """Tidy up what an earlier run left under way; gives the jobs, locked, that are to be built again.

    A build whose upload is whole is resumed, but not for ever: one that took the process down twice is marked failed.
    """
    for folder in sorted(store.building.iterdir()):
        job = Job(folder)
        try:
            if not folder.is_dir() or not job.lock():
                continue  # somebody's file, or another process is at work on it
        except OSError:
            log.exception("the build of %s cannot be recovered", folder.name)
            continue
        record, order = read_record(folder), job.order()
        finished = read_record(store.root / folder.name)
        if record is None or (finished is not None and finished.state == "ready"):
            log.info("removing the leftovers of building %s", folder.name)
            job.discard()
        elif record.state == "failed":
            job.unlock()
        elif order is None or not job.source.is_file() or order.attempts >= MAX_ATTEMPTS:
            log.warning("the build of %s was interrupted and is given up", folder.name)
            error = Problem(code="interrupted", message=MESSAGES["interrupted"])
            job.give_up(record.model_copy(update={"state": "failed", "stage": "failed", "error": error}))
            job.unlock()
        else:
            log.info("resuming the build of %s", folder.name)
            job.clear()
            yield job
