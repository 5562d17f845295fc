"""`run.py avatar prune`: what nobody has used for long, named first and deleted only with --yes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from avatars.store import AvatarStore
from avatars.usage import Kept
from server.admin.storage import Prune
from server.admin.storage import prune as pruned
from server.records.tutors import Link

_WHY: dict[Kept, str] = {
    "in_use": "in use",
    "used": "used within that time",
    "linked": "linked to a tutor (--include-linked)",
    "unknown_tutor": "made for a tutor who is not in this database; another may know it (--include-linked)",
    "sample": "the sample (--include-sample)",
    "not_ready": "not ready",
}


def prune(store: AvatarStore, arguments: argparse.Namespace, links: Callable[[], Sequence[Link]], place: str) -> int:
    """A server may be running on the same folder: what it shows is never deleted.

    links: reads the tutors. place: their database, as it may be shown.
    """
    try:
        order = Prune(
            unused_days=arguments.unused_days,
            dry_run=not arguments.yes,
            include_sample=arguments.include_sample,
            include_linked=arguments.include_linked,
        )
    except ValidationError:
        print("--unused-days: write a number of days, at least 1 and at most 36500.", file=sys.stderr)
        return 2
    found = pruned(store, order, tutors=() if order.include_linked else links())
    size = 0
    for verdict in found.verdicts:
        name, megabytes = verdict.record.id, verdict.usage.bytes / 1e6
        if verdict.kept is not None:
            if verdict.kept != "used":
                print(f"  keeps   {name:24} {megabytes:9.1f} MB  {_WHY[verdict.kept]}")
        elif name in found.failed:
            print(f"  FAILED  {name:24} {megabytes:9.1f} MB  {found.failed[name]}")
        else:
            size += verdict.usage.bytes
            since = f"{verdict.since:%Y-%m-%d}"
            print(f"  {'deletes' if order.dry_run else 'deleted'} {name:24} {megabytes:9.1f} MB  unused since {since}")
    count = sum(verdict.kept is None for verdict in found.verdicts) - len(found.failed)
    what = f"{count} avatar{'' if count == 1 else 's'} of {len(found.verdicts)}, {size / 1e6:.1f} MB"
    print(f"{what} would be deleted. Nothing was; add --yes." if order.dry_run else f"{what} deleted.")
    if not order.include_linked:
        print(f"Tutors were looked up in {place}.")
    return 1 if found.failed else 0
