"""How connections are taken: what one client may hold open, and for how long."""

from __future__ import annotations

import resource

from aiohttp import web

KEEPALIVE_SECONDS = 30.0  # an idle connection, or one whose request's head does not come, holds a file handle
SHUTDOWN_SECONDS = 2.0  # for requests under way; the parts have their own limits
FILES = 65_536


def runner_of(app: web.Application) -> web.AppRunner:
    """The application with what it takes from clients.

    aiohttp's own limits stand: a head of at most 128 lines of 8190 bytes. A head that is not there KEEPALIVE_SECONDS
    after its connection was made, or after the request before, closes the connection, however busily it drips. Bodies
    are never unpacked: aiohttp would unpack that of a refused request, too, to get past it, and a megabyte can hold a
    gigabyte.
    """
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=KEEPALIVE_SECONDS,
        auto_decompress=False,
    )


def raise_file_limit() -> None:
    """Let this process open as many files as the system lets it: the usual 1024 are few for connections and viewers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
