"""How full the server is: seats, the engine, the processor, memory, disk; and the limits that are set."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

from aiohttp import web

from server.keys import PEERS, RTC, SESSIONS, SETTINGS, STORE


async def capacity(app: web.Application) -> dict[str, Any]:
    """{used, limit} of each, in its own unit (None as a limit: there is none); why a session that came now would be
    refused; the limits as they are set.
    """
    sessions = app[SESSIONS]
    full, limits = sessions.occupancy(), sessions.limits
    disk = await asyncio.to_thread(shutil.disk_usage, app[STORE].root)
    memory = await asyncio.to_thread(_memory)
    return {
        "sessions": {"used": full.awake, "limit": limits.max_sessions},
        "waiting": {"used": full.waiting, "limit": limits.max_waiting},
        "records": {"used": len(sessions.all()), "limit": limits.max_records},
        "speaking": {"used": full.speaking, "limit": full.capacity},
        "viewers": {"used": app[PEERS].count(), "limit": app[RTC].max_peers},
        "cpu": {"used": full.cpu, "limit": limits.max_cpu},
        "loop": {"used": full.loop, "limit": limits.max_loop},
        "memory": {"used": memory[0], "limit": memory[1]},
        "disk": {"used": disk.total - disk.free, "limit": disk.total},
        "refused": full.refused,
        "limits": app[SETTINGS].sessions.model_dump(mode="json"),
    }


def _memory() -> tuple[int, int | None]:
    """Bytes of this process that are in memory, and of the machine in all."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * page
    total = os.sysconf("SC_PHYS_PAGES") * page
    return resident, total if total > 0 else None
