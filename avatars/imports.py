"""Takes videos in from outside: paths that a client names are checked, files are moved or copied whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from avatars.errors import AvatarError


def import_path(path: str | Path, allowed_dirs: Sequence[Path]) -> Path:
    """The real place of a file that a client named, if it is a regular file inside one of `allowed_dirs`.

    Links are followed first: one that leads out is refused, and nothing is said about what exists outside.
    Raises AvatarError: forbidden_path, no_such_file.
    """
    text = str(path)
    if "\0" in text or not text:
        raise AvatarError("forbidden_path")
    try:
        real = Path(text).resolve()
        inside = any(real.is_relative_to(folder.resolve()) for folder in allowed_dirs)
    except (OSError, RuntimeError):  # a loop of links, a name that is too long
        raise AvatarError("forbidden_path") from None
    if not inside:
        raise AvatarError("forbidden_path")
    try:
        mode = real.lstat().st_mode
    except OSError:
        raise AvatarError("no_such_file") from None
    if not stat.S_ISREG(mode):
        raise AvatarError("no_such_file", "This path is not a file.")
    return real


def take(source: Path, target: Path, *, move: bool, max_bytes: int) -> int:
    """Move or copy a regular file to `target`; gives its size. Blocking.

    Raises AvatarError: no_such_file, too_large, disk_full. A failed copy leaves nothing behind.
    """
    try:
        # Links were followed when the path was checked: one that has taken the file's place since is not.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise AvatarError("no_such_file") from None
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise AvatarError("no_such_file", "This path is not a file.")
        if facts.st_size > max_bytes:
            raise AvatarError(
                "too_large", f"The file is larger than {max_bytes >> 20} MB. Cut half a minute out of it."
            )
        if move:
            try:
                os.rename(source, target)
                return facts.st_size
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise disk_error(error) from error
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise disk_error(error) from error
    if move:
        with contextlib.suppress(FileNotFoundError):
            source.unlink()
    return facts.st_size


def disk_error(error: OSError) -> AvatarError:
    """An error of the file system in our terms."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return AvatarError("disk_full" if full else "internal")
