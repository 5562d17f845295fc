"""The file of API keys: which there are, with a hash of each one's secret; read, checked and changed.

A secret is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess that a slow hash would
protect, and a check costs two microseconds, not the tenth of a second that a flood of wrong keys could turn against us.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avatars.folders import make_private
from server.access.files import OTHERS_READ, OTHERS_WRITE, write_private
from server.access.roles import Role

PREFIX = "lk"
FORM = re.compile(r"lk_([a-z0-9]{8})_([A-Za-z0-9]{43})")
"""lk_ID_SECRET: an id to find and name the key by, and 43 letters and digits (256 bits) that prove it."""

FORM_ID = re.compile(r"[a-z0-9]{8}")

MOST_KEYS = 1000
_ID_LETTERS = string.ascii_lowercase + string.digits
_LETTERS = string.ascii_letters + string.digits


class KeyFileError(Exception):
    """The file cannot be used; str() says what is wrong and what to do."""


class Key(BaseModel):
    """One key as it is kept. created_at: seconds since 1970. hash: SHA-256 of the secret, in hexadecimal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]{8}$")]
    name: Annotated[str, Field(max_length=100)]
    role: Role
    created_at: float
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def fits(self, secret: str) -> bool:
        """Whether that is its secret; compared in constant time."""
        return hmac.compare_digest(self.hash, hash_of(secret))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    keys: Annotated[tuple[Key, ...], Field(max_length=MOST_KEYS)]

    @model_validator(mode="after")
    def _distinct(self) -> _File:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have the same id")
        return self


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys that were read. readable_by_others: the file's mode lets others see the hashes."""

    keys: tuple[Key, ...]
    readable_by_others: bool = False


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def read(path: Path) -> KeyFile:
    """The keys; none if there is no file. Raises KeyFileError: unreadable, damaged, or others may write to it."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        return KeyFile(())
    except OSError as error:
        raise KeyFileError(f"{path}: the keys cannot be read: {error.strerror}.") from error
    if mode & OTHERS_WRITE:
        raise KeyFileError(f"{path}: other users may write to it, and so make keys. Run: chmod 600 {path}")
    try:
        keys = _File.model_validate_json(content).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise KeyFileError(
            f"{path}: the file of keys is damaged ({where}: {first['msg']}). "
            "Restore it from a copy, or move it away and make the keys anew."
        ) from error
    return KeyFile(keys, bool(mode & OTHERS_READ))


def add(path: Path, role: Role, name: str, *, now: float | None = None) -> tuple[Key, str]:
    """Make a key: its record, and the key itself, which is kept nowhere. Raises KeyFileError. Blocking."""
    with _alone(path):
        known = read(path).keys
        if len(name) > 100 or not name.isprintable():
            raise KeyFileError("A key's name has at most 100 printable characters.")
        if len(known) >= MOST_KEYS:
            raise KeyFileError(f"There are {MOST_KEYS} keys already; remove some first.")
        taken = {key.id for key in known}
        key_id = next(each for each in iter(lambda: _random(_ID_LETTERS, 8), None) if each not in taken)
        secret = _random(_LETTERS, 43)
        key = Key(id=key_id, name=name, role=role, created_at=time.time() if now is None else now, hash=hash_of(secret))
        _write(path, (*known, key))
    return key, f"{PREFIX}_{key_id}_{secret}"


def remove(path: Path, key_id: str) -> Key:
    """Take a key away; gives its record. Raises KeyFileError, also when there is no such key. Blocking."""
    with _alone(path):
        known = read(path).keys
        gone = next((key for key in known if key.id == key_id), None)
        if gone is None:
            raise KeyFileError(f"There is no key {key_id}; run.py keys list shows them.")
        _write(path, tuple(key for key in known if key is not gone))
    return gone


def _random(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    try:
        write_private(path, _File(version=1, keys=keys).model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise KeyFileError(f"{path}: the keys cannot be written: {error.strerror}.") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One change at a time, whichever process makes it."""
    try:
        make_private(path.parent)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise KeyFileError(f"{path}: the keys cannot be written: {error.strerror}.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
