"""Which avatars are shown, across processes: a file in the avatar's folder, locked by whoever shows it.

The lock is flock's, shared by all who show the avatar; the kernel gives it back when a process dies, in whatever way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from avatars.errors import AvatarError
from avatars.imports import disk_error

_FILE = "in_use"
_SECONDS = 2.0  # for a process that removes the avatar or its cache just now


def hold(folder: Path) -> int:
    """Say that this process shows the avatar in a folder; gives the handle, to be closed when it does no longer.

    Raises AvatarError: not_found (it is deleted just now), in_use, disk_full, internal.
    """
    path = folder / _FILE
    handle = _lock(path, fcntl.LOCK_SH, _SECONDS)
    if handle is None:
        raise AvatarError("in_use")
    try:
        if os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    except FileNotFoundError:
        pass
    os.close(handle)
    raise AvatarError("not_found")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether no process shows the avatar in a folder; none begins to meanwhile. Raises AvatarError."""
    handle: int | None = None
    free = True
    try:
        if folder.is_dir():
            handle = _lock(folder / _FILE, fcntl.LOCK_EX, 0.0)
            free = handle is not None
    except AvatarError as error:
        if error.code != "disk_full":  # then there is no such file, and nobody shows the avatar
            raise
    try:
        yield free
    finally:
        if handle is not None:
            os.close(handle)


def _lock(path: Path, kind: int, seconds: float) -> int | None:
    """The handle of a file that is now locked; None where somebody else has it. Raises AvatarError."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (FileNotFoundError, NotADirectoryError):
        raise AvatarError("not_found") from None
    except OSError as error:
        raise disk_error(error) from error
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
            time.sleep(0.02)
        except BaseException:
            os.close(handle)
            raise
