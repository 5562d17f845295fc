"""Streams to disk, whole or not there; names that other systems give."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from server import bodies
from server.bodies import Id
from server.problems import ProblemError


class Pieces:
    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)

    async def next(self) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


async def test_a_stream_is_written_whole(tmp_path: Path) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(9)]
    assert await bodies.stream_to_file(Pieces(*pieces), tmp_path / "f", 2_700_000) == 2_700_000
    assert (tmp_path / "f").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (Pieces(b"0" * 101), "too_large"),
        (Pieces(b"0" * 50, b"0" * 50, b"0"), "too_large"),
        (Pieces(b"0" * 50, ValueError("broken")), "bad_multipart"),
    ],
)
async def test_what_fails_leaves_no_file(tmp_path: Path, source: Pieces, code: str) -> None:
    with pytest.raises(ProblemError) as refused:
        await bodies.stream_to_file(source, tmp_path / "f", 100)
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


async def test_a_connection_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        await bodies.stream_to_file(Pieces(b"0" * 50, ConnectionResetError()), tmp_path / "f", 100)
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bodies, "_write_all", full)
    with pytest.raises(ProblemError) as refused:
        await bodies.stream_to_file(Pieces(b"0"), tmp_path / "f", 100)
    assert (refused.value.status, refused.value.code) == (507, "disk_full")
    assert list(tmp_path.iterdir()) == []


async def test_nothing_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    class Silent:
        async def next(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    monkeypatch.setattr(bodies, "READ_SECONDS", 0.05)
    with pytest.raises(ProblemError) as refused:
        await bodies.stream_to_file(Silent(), tmp_path / "f", 100)
    assert (refused.value.status, refused.value.code) == (408, "request_timeout")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "taken"),
    [("s1", "s1"), (7, "7"), (7.0, "7"), (-3, "-3"), (True, None), (7.5, None), (1 << 80, None), ("", None)],
)
def test_other_systems_may_number_their_students(given: object, taken: str | None) -> None:
    adapter = TypeAdapter(Id)
    if taken is not None:
        assert adapter.validate_python(given) == taken
        return
    with pytest.raises(ValidationError):
        adapter.validate_python(given)


@pytest.mark.parametrize("small", [True, False])
async def test_what_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """A byte now and then keeps no request open for ever."""
    now = 0.0

    class Drip:
        sent = 0

        async def next(self) -> bytes:
            nonlocal now
            now += 20.0
            self.sent += 1
            return b"x"

    monkeypatch.setattr(bodies, "monotonic", lambda: now)
    drip = Drip()
    reading = bodies.read_limited(drip, 1 << 20) if small else bodies.stream_to_file(drip, tmp_path / "f", 1 << 20)
    with pytest.raises(ProblemError) as refused:
        await reading
    assert (refused.value.status, refused.value.code) == (408, "request_timeout")
    assert drip.sent == 4, "a minute is allowed"
    assert list(tmp_path.iterdir()) == []


async def test_a_slow_line_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it brings bodies.SLOWEST bytes a second."""
    now = 0.0

    class Slow:
        left = 60

        async def next(self) -> bytes:
            nonlocal now
            now += 10.0  # ten minutes in all
            self.left -= 1
            return b"x" * 41_000 if self.left > 0 else b""

    monkeypatch.setattr(bodies, "monotonic", lambda: now)
    assert await bodies.stream_to_file(Slow(), tmp_path / "f", 1 << 30) == 59 * 41_000
