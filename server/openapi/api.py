"""GET /openapi.json, and GET /docs: Swagger UI, out of the package that brings it, under the pages' own policy."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from aiohttp import web

from server.openapi.document import document
from server.openapi.table import OPERATIONS
from server.problems import ProblemError

_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def add_routes(app: web.Application, page: Path, version: str) -> None:
    """page: the HTML that loads the viewer. version: the server's."""
    text = json.dumps(document(OPERATIONS, version), ensure_ascii=False).encode()
    folder = _viewer()

    async def show(request: web.Request) -> web.StreamResponse:
        return web.Response(body=text, content_type="application/json")

    async def docs(request: web.Request) -> web.StreamResponse:
        if folder is None:
            raise ProblemError(
                404,
                "docs_missing",
                "The viewer is not installed: .venv/bin/pip install --no-deps -r requirements-docs.txt. "
                "The description itself is at /openapi.json.",
            )
        return web.FileResponse(page, headers={"Content-Type": "text/html; charset=utf-8"})

    async def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if folder is None or name not in _FILES:
            raise web.HTTPNotFound
        return web.FileResponse(
            folder / name, headers={"Content-Type": f"{_FILES[name]}; charset=utf-8", "Cache-Control": "no-cache"}
        )

    app.router.add_get("/openapi.json", show)
    app.router.add_get("/docs", docs)
    app.router.add_get("/docs/{file}", file)


def _viewer() -> Path | None:
    """The folder of Swagger UI's files. Its package is made for Flask, which is not needed for them."""
    found = importlib.util.find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "dist"
    return folder if all((folder / name).is_file() for name in _FILES) else None
