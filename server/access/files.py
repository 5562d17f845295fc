"""Files that only the server's own user may read, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from avatars.folders import make_private

OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def write_private(path: Path, content: bytes) -> None:
    """Put a file (mode 0600) in its place at once, on the disk before it is there. Raises OSError.

    Root gives it to whom the folder belongs to: the server's user, who has to read it.
    """
    make_private(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.chown(file.fileno(), owner.st_uid, owner.st_gid)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
