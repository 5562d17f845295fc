"""The description: whole, well-formed, and the page that shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from aiohttp import web
from jsonschema_rs import Draft202012Validator

from server.openapi.codes import CODES
from server.openapi.operation import Operation
from server.openapi.table import OPERATIONS, undescribed, unreachable
from tests.pages.conftest import chromium, watched_pages
from tests.server.conftest import Serve, problem

ROOT = Path(__file__).resolve().parents[2]
HOW = "describe each in server/openapi/, in the module of its area (server/openapi/table.py lists them)"


async def test_every_route_is_described(serve: Serve) -> None:
    app = (await serve()).app
    assert not undescribed(app), f"These routes are not in the OpenAPI document; {HOW}: {undescribed(app)}"
    assert not unreachable(app), f"These operations are described, but have no route: {unreachable(app)}"


async def test_a_new_route_is_noticed() -> None:
    """The test above can fail."""

    async def new(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/v1/new/{thing}", new)
    app.router.add_get("/livez", new)
    assert undescribed(app) == ["GET /v1/new/{thing}"]


def _literals(tree: ast.AST) -> list[tuple[int, str]]:
    """(status, code) of each ProblemError that names both."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ProblemError" and len(node.args) >= 2:
            status, code = node.args[:2]
            if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
                found.append((status.value, code.value))
    return found


def test_every_code_is_listed() -> None:
    """With its status; the codes of avatars and voices, too."""
    raised = [pair for path in (ROOT / "server").rglob("*.py") for pair in _literals(ast.parse(path.read_text()))]
    assert len(raised) > 30
    wrong = [pair for pair in raised if pair[0] not in CODES.get(pair[1], ())]
    assert not wrong, f"add these to server/openapi/codes.py, as code: (status,) - {wrong}"


def test_avatar_codes_are_listed() -> None:
    from avatars.errors import MESSAGES, AvatarError
    from server.problems import from_avatar

    found = {code: (from_avatar(AvatarError(code)).status,) for code in MESSAGES}
    assert {code: CODES.get(code) for code in found} == found


async def test_the_document_is_well_formed(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.get("/openapi.json")
    assert answer.content_type == "application/json"
    document = await answer.json()
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for name in schemas:
        Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', await answer.text()))
    assert references == set(schemas), "each schema is used, each one used is there"
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_operations_are_for_people(operation: Operation) -> None:
    assert operation.summary
    assert all(answer.text for answer in operation.answers.values())
    assert all(100 <= status < 600 for status in operation.answers)


async def test_the_document_needs_no_key(serve: Serve) -> None:
    server = await serve(server={"api_key": "k"})
    assert (await server.client.get("/openapi.json")).status == 200
    assert (await server.client.get("/docs")).status == 200


async def test_only_the_viewers_own_files_are_served(serve: Serve) -> None:
    server = await serve()
    for name in ("VERSION", "..%2Fflask_swagger_ui.py", "oauth2-redirect.html"):
        await problem(await server.client.get(f"/docs/{name}"), 404, "not_found")


async def test_without_the_viewer_the_page_says_how_to_get_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server = await serve()
    body = await problem(await server.client.get("/docs"), 404, "docs_missing")
    assert "requirements-docs.txt" in body["detail"]
    assert (await server.client.get("/openapi.json")).status == 200


@pytest.mark.browser
async def test_an_operation_can_be_tried(serve: Serve) -> None:
    """With a key, in the browser, under the policy that all pages have."""
    server = await serve(server={"api_key": "the-key"})
    async with chromium() as browser, watched_pages(browser) as open_page:
        page = await open_page(str(server.client.make_url("/docs")))
        block = page.locator("#operations-Sessions-createSession")
        await block.locator(".opblock-summary-control").click()
        await block.locator("textarea").fill('{"avatar_id": "ada", "student_id": "s1"}')
        await block.locator(".execute").click()
        await block.locator(".live-responses-table").get_by_text("unauthorized").first.wait_for()
        await page.locator("button.authorize").first.click()
        await page.locator(".auth-container input").first.fill("the-key")
        await page.locator(".auth-btn-wrapper .authorize").first.click()
        await page.locator(".btn-done").first.click()
        await block.locator(".execute").click()
        await block.locator(".live-responses-table").get_by_text("engine_token").first.wait_for()
    assert len(server.sessions.all()) == 1


def test_the_codes_in_the_documents_table_are_the_ones_that_are_told() -> None:
    table = (ROOT / "docs" / "api.md").read_text().split("| status | codes |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if re.match(r"\| \d", line)]
    told = {
        code: {int(each) for each in re.findall(r"\d+", status)}
        for status, codes in rows
        for code in re.findall(r"`(\w+)`", codes)
    }
    wrong = {code: statuses for code, statuses in told.items() if not set(CODES.get(code, ())) & statuses}
    assert not wrong
    assert {"consent_required", "recording_running"} <= set(told)
