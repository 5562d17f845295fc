"""What avatars take on disk, which are built now, and the pruning of those that nobody has used for long."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from avatars.errors import AvatarError
from avatars.record import AvatarRecord
from avatars.store import AvatarStore
from avatars.usage import Usage, Verdict, judge
from server.avatar_orders import described
from server.keys import BUILDER, RECORDER, SESSIONS, SETTINGS, STORE
from server.records.tutors import Link
from server.sample import SAMPLE_ID
from server.tutors import Shelf

FAILED_SECONDS = 7 * 86_400.0
"""How long a build that failed counts as one that failed recently."""


class Prune(BaseModel):
    """POST /v1/admin/avatars/prune. Without dry_run: false nothing is deleted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unused_days: Annotated[float, Field(ge=1, le=36_500)]
    dry_run: StrictBool = True
    include_sample: StrictBool = False
    include_linked: StrictBool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """verdicts: of all avatars. gone: ids that were deleted. failed: what could not be, with the reason's code."""

    verdicts: list[Verdict]
    gone: list[str]
    failed: dict[str, str]


async def storage(app: web.Application) -> dict[str, Any]:
    """The disk, and each avatar on it, the largest first. Measuring takes 1 ms an avatar, in a thread."""
    store, sessions, films = app[STORE], app[SESSIONS], app[RECORDER]
    disk, found = await asyncio.to_thread(lambda: (shutil.disk_usage(store.root), measured(store)))
    rows: list[dict[str, Any]] = [
        {
            "avatar_id": record.id,
            "tutor_id": record.tutor_id,
            "state": record.state,
            "bytes": usage.bytes,
            "cache_bytes": usage.cache_bytes,
            "created_at": _iso(record.created_at),
            "last_used_at": _iso(usage.last_used),
            "sessions": sessions.using(record.id),
            "sample": record.id == SAMPLE_ID,
        }
        for record, usage in found
    ]
    rows.sort(key=lambda row: (-row["bytes"], row["avatar_id"]))
    return {
        "disk": {"path": str(store.root), "total_bytes": disk.total, "free_bytes": disk.free},
        "bytes": sum(usage.bytes for _, usage in found),
        "cache_bytes": sum(usage.cache_bytes for _, usage in found),
        "cache_limit_bytes": round(app[SETTINGS].avatars.cache_gb * 1e9),
        "recordings": {
            "total": len(films.all()),
            "bytes": films.bytes,
            "limit_bytes": round(app[SETTINGS].recording.max_gb * 1e9),
        },
        "total": len(rows),
        "avatars": rows,
    }


async def builds(app: web.Application) -> dict[str, Any]:
    """Avatars that are prepared now, that wait for it, and that failed within a week."""
    records = {record.id: record for record in await asyncio.to_thread(app[STORE].list)}
    builder = app[BUILDER]
    failed = [
        record
        for record in records.values()
        if record.state == "failed" and time.time() - record.created_at.timestamp() < FAILED_SECONDS
    ]
    failed.sort(key=lambda record: record.created_at, reverse=True)
    return {
        "parallel": app[SETTINGS].avatars.parallel_builds,
        "running": [described(records[each]) for each in builder.running if each in records],
        "waiting": [described(records[each]) for each in builder.waiting if each in records],
        "failed": [described(record) for record in failed],
        "ready": sum(record.state == "ready" for record in records.values()),
        "total": len(records),
    }


def prune(store: AvatarStore, order: Prune, *, in_use: Set[str] = frozenset(), tutors: Sequence[Link] = ()) -> Pruned:
    """Choose and, unless it is a dry run, delete. in_use: ids of sessions that sleep, too. tutors: all of the
    database, for an order without include_linked. Blocking.

    An avatar that a session of any process took meanwhile stays: deleting it is refused.
    """
    found = measured(store)
    shelf = Shelf([record for record, _ in found])
    shown = {record.id for record, _ in found if record.state == "ready" and store.shown(record.id)}
    verdicts = judge(
        [record for record, _ in found],
        {record.id: usage for record, usage in found},
        datetime.now(UTC),
        unused_days=order.unused_days,
        in_use=shown | in_use,
        linked=frozenset() if order.include_linked else shelf.linked(tutors),
        strangers=frozenset() if order.include_linked else shelf.strangers(tutors) - {SAMPLE_ID},
        samples=frozenset() if order.include_sample else frozenset({SAMPLE_ID}),
    )
    gone: list[str] = []
    failed: dict[str, str] = {}
    if not order.dry_run:
        for verdict in verdicts:
            if verdict.kept is None:
                try:
                    store.delete(verdict.record.id)
                    gone.append(verdict.record.id)
                except AvatarError as error:
                    failed[verdict.record.id] = error.code
    return Pruned(verdicts, gone, failed)


def described_prune(order: Prune, pruned: Pruned) -> dict[str, Any]:
    """As the API answers it. bytes: of what is (or would be) deleted; kept: how many stay, by reason."""
    going = [verdict for verdict in pruned.verdicts if verdict.kept is None]
    if not order.dry_run:
        going = [verdict for verdict in going if verdict.record.id in pruned.gone]
    kept: dict[str, int] = {}
    for verdict in pruned.verdicts:
        if verdict.kept is not None:
            kept[verdict.kept] = kept.get(verdict.kept, 0) + 1
    return {
        "dry_run": order.dry_run,
        "unused_days": order.unused_days,
        "total": len(going),
        "bytes": sum(verdict.usage.bytes for verdict in going),
        "avatars": [
            {
                "avatar_id": verdict.record.id,
                "bytes": verdict.usage.bytes,
                "last_used_at": _iso(verdict.usage.last_used),
                "created_at": _iso(verdict.record.created_at),
            }
            for verdict in going
        ],
        "kept": kept,
        "failed": pruned.failed,
    }


def measured(store: AvatarStore) -> list[tuple[AvatarRecord, Usage]]:
    """Every avatar with what it takes. Blocking."""
    return [(record, store.usage(record.id)) for record in store.list()]


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
