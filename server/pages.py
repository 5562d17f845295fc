"""The pages and their files, from static/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from server.problems import ProblemError

_PAGES = {"/": "index.html", "/teacher": "teacher.html", "/admin": "admin.html"}


def add_routes(app: web.Application, folder: Path) -> None:
    """GET /, /teacher, /admin and /static/*; with ETags, so that a browser asks again and mostly hears 304."""

    def page(name: str) -> web.RouteDef:
        path = next(path for path, file in _PAGES.items() if file == name)

        async def show(request: web.Request) -> web.StreamResponse:
            if not (folder / name).is_file():
                raise ProblemError(404, "page_missing", f"This installation has no {name}.")
            return web.FileResponse(folder / name, headers={"Content-Type": "text/html; charset=utf-8"})

        return web.get(path, show)

    app.add_routes([page(name) for name in _PAGES.values()])

    async def favicon(request: web.Request) -> web.StreamResponse:
        icon = folder / "favicon.svg"
        return web.FileResponse(icon) if icon.is_file() else web.Response(status=204)

    app.router.add_get("/favicon.ico", favicon)
    app.router.add_get("/static/{path:.+}", _files(folder.resolve()))


def _files(folder: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Regular files inside the folder, links followed first. Like aiohttp's own, but what is missing is a problem."""

    async def show(request: web.Request) -> web.StreamResponse:
        try:
            path = (folder / request.match_info["path"]).resolve()
            found = path.is_relative_to(folder) and path.is_file()
        except (OSError, ValueError):  # names that no file can have
            found = False
        if not found:
            raise web.HTTPNotFound
        return web.FileResponse(path)

    return show
