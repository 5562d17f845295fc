"""How full the server is: seats, the engine, the processor, memory, disk; and the limits that are set."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

from aiohttp import web

from server.keys import ENGINE, PEERS, RTC, SESSIONS, SETTINGS, STORE


async def capacity(app: web.Application) -> dict[str, Any]:
    """bars: {name: {used, limit}}, each in its own unit; None as a limit: there is none. limits: as they are set."""
    sessions, engine = app[SESSIONS], app[ENGINE]
    everybody = sessions.all()
    speaking = sum(session.live is not None and session.live.status == "speaking" for session in everybody)
    disk = await asyncio.to_thread(shutil.disk_usage, app[STORE].root)
    memory = await asyncio.to_thread(_memory)
    return {
        "sessions": {"used": sessions.awake, "limit": sessions.limits.max_sessions},
        "records": {"used": len(everybody), "limit": sessions.limits.max_records},
        "speaking": {"used": speaking, "limit": getattr(engine, "capacity", lambda: None)()},
        "viewers": {"used": app[PEERS].count(), "limit": app[RTC].max_peers},
        "cpu": {"used": round(os.getloadavg()[0], 2), "limit": os.cpu_count()},
        "memory": {"used": memory[0], "limit": memory[1]},
        "disk": {"used": disk.total - disk.free, "limit": disk.total},
        "refusing": sessions.refusing,
        "limits": app[SETTINGS].sessions.model_dump(mode="json"),
    }


def _memory() -> tuple[int, int | None]:
    """Bytes of this process that are in memory, and of the machine in all."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * page
    total = os.sysconf("SC_PHYS_PAGES") * page
    return resident, total if total > 0 else None
