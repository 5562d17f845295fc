"""What avatars take, when they were last used, and which ones are pruned."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from avatars.record import AvatarRecord
from avatars.store import AvatarStore
from avatars.usage import MARK, MARK_SECONDS, Marks, Usage, judge
from tests.server.conftest import FRAMES, HEIGHT, WIDTH, add_ready

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def record(avatar_id: str, days: float = 400, state: str = "ready") -> AvatarRecord:
    return AvatarRecord(id=avatar_id, state=state, created_at=NOW - timedelta(days=days))  # type: ignore[arg-type]


def used(days: float) -> Usage:
    return Usage(last_used=NOW - timedelta(days=days))


def test_only_what_nobody_has_used_for_long_goes() -> None:
    records = [
        record("never"),
        record("new", days=3),
        record("old-but-used"),
        record("long-ago"),
        record("shown"),
        record("sample"),
        record("linked"),
        record("failed", state="failed"),
    ]
    usages = {"old-but-used": used(2), "long-ago": used(31), "shown": used(90)}
    verdicts = judge(
        records,
        usages,
        NOW,
        unused_days=30,
        in_use={"shown"},
        linked={"linked", "never-there"},
        samples={"sample"},
    )
    assert {verdict.record.id: verdict.kept for verdict in verdicts} == {
        "never": None,
        "new": "used",
        "old-but-used": "used",
        "long-ago": None,
        "shown": "in_use",
        "sample": "sample",
        "linked": "linked",
        "failed": "not_ready",
    }
    asked = judge(records, usages, NOW, unused_days=30, in_use={"shown"})
    assert {verdict.record.id for verdict in asked if verdict.kept is None} == {"never", "long-ago", "sample", "linked"}


def test_an_avatar_made_again_counts_from_its_making() -> None:
    """The mark of an earlier one of the same name, such as in a copied folder, is older than the avatar."""
    (verdict,) = judge([record("ada", days=5)], {"ada": used(100)}, NOW, unused_days=30)
    assert verdict.kept == "used"


def test_a_mark_is_written_once_an_hour() -> None:
    marks = Marks()
    assert marks.due("ada", 0.0)
    assert not marks.due("ada", MARK_SECONDS - 1)
    assert marks.due("bob", MARK_SECONDS - 1)
    assert marks.due("ada", MARK_SECONDS)
    marks.forget("ada")
    assert marks.due("ada", MARK_SECONDS + 1)


@pytest.fixture
def store(tmp_path: Path) -> AvatarStore:
    add_ready(tmp_path, "ada")
    return AvatarStore(tmp_path, cache_bytes=10**9)


def test_usage_tells_size_cache_and_last_use(store: AvatarStore) -> None:
    plain = store.usage("ada")
    assert plain.last_used is None
    assert plain.cache_bytes == 0
    store.open("ada")
    store.used("ada")
    found = store.usage("ada")
    assert found.cache_bytes == WIDTH * HEIGHT * 3 // 2 * FRAMES
    assert found.bytes >= plain.bytes + found.cache_bytes
    assert found.last_used is not None
    assert abs(found.last_used.timestamp() - time.time()) < 60
    assert AvatarStore(store.root, cache_bytes=10**9).usage("ada").last_used == found.last_used  # it is on disk


def test_use_is_not_written_down_again_within_the_hour(store: AvatarStore) -> None:
    store.used("ada")
    mark = store.folder("ada") / MARK
    os.utime(mark, (0, 0))
    store.used("ada")
    assert mark.stat().st_mtime == 0


def test_a_lease_of_any_process_counts_as_shown(store: AvatarStore) -> None:
    assert not store.shown("ada")
    other = AvatarStore(store.root, cache_bytes=10**9)
    with other.lease("ada"):
        assert store.shown("ada")
        assert other.shown("ada")
    assert not store.shown("ada")
