"""schemathesis holds the server against its OpenAPI document: no 500, nothing undescribed, no way past a key."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from server.openapi import api
from server.openapi.operation import Answer
from server.openapi.table import OPERATIONS
from tests.server.conftest import Running, Serve

HERE = Path(__file__).parent
SECONDS = 600  # of which a free machine needs 25
pytestmark = pytest.mark.timeout(SECONDS + 30)
ENDS = ("endSession", "stopSession", "deleteAvatar", "deleteStudent", "drain")
"""These would take away what the others are tried on."""

# positive_data_acceptance: a tutor that does not exist is refused, however well its name is formed. Allow: of two
# addresses that fit a path (/v1/avatars/upload, /v1/avatars/{avatar_id}) the header names the methods of both.
SETTINGS = f"""
hooks = "{HERE / "hooks.py"}"
[generation]
max-examples = 3
deterministic = true
database = "none"
[warnings]
enabled = false
[checks.positive_data_acceptance]
enabled = false
[checks.allow_header_conformance]
enabled = false
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 502, 503, 504, 507]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 428, 429, 503]
[phases.coverage]
unexpected-methods = ["PUT"]
[checks.missing_required_header]
expected-statuses = [401, 404, 428]
[[operations]]
include-operation-id = "sessionEvents"  # without an event to begin with, a stream is silent
max-stream-events = 1
parameters."header.Last-Event-ID" = "0"
parameters."query.last_event_id" = "0"
[[operations]]
include-operation-id = "uploadAvatar"  # each starts a process that looks at the file
generation.max-examples = 2
phases.coverage.enabled = false
"""
COUNT = len(OPERATIONS) - 1  # it leaves out the one that serves the document


async def schemathesis(server: Running, folder: Path, more: str, *arguments: str) -> tuple[int, str]:
    """Exit status and what it said."""
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS + more)
    command = ["--config-file", str(settings), "run", str(server.client.make_url("/openapi.json")), "--no-color"]
    command += ["--request-timeout", "100", "--continue-on-failure", *arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, told.decode(errors="replace")


def _passed(status: int, told: str, *, operations: int, at_least: int) -> None:
    assert status == 0, told
    selected = re.search(r"Operations: +(\d+) selected", told)
    cases = re.search(r"(\d+) generated, (\d+) passed", told)
    assert selected is not None
    assert cases is not None, told
    assert int(selected[1]) == operations, told
    assert int(cases[2]) == int(cases[1]) >= at_least, told


def _without(names: tuple[str, ...]) -> list[str]:
    return [word for name in names for word in ("--exclude-operation-id", name)]


async def test_who_has_a_key_and_a_session(serve: Serve, tmp_path: Path) -> None:
    server = await serve(
        server={"api_key": "the-key"},
        access={"failures_per_minute": 0},  # schemathesis tries wrong keys everywhere
        sessions={"max_sessions": 100, "first_seconds": 3600},
    )
    header = {"Authorization": "Bearer the-key"}
    body = {"avatar_id": "ada", "student_id": "s1"}
    made = await (await server.client.post("/v1/sessions", json=body, headers=header)).json()
    said = {"text": "An event to begin with."}
    await server.client.post(f"/v1/sessions/{made['session_id']}/say", json=said, headers=header)
    more = f"""
[parameters]
"path.session_id" = "{made["session_id"]}"
"path.avatar_id" = "ada"
[auth.openapi]
key = {{ bearer = "the-key" }}
token = {{ bearer = "{made["engine_token"]}" }}
"""
    status, told = await schemathesis(server, tmp_path, more, "--phases", "examples,coverage,fuzzing", *_without(ENDS))
    _passed(status, told, operations=COUNT - len(ENDS), at_least=300)
    assert server.lives[0].said, "something was asked or said"
    assert len(server.lives) > 1, "sessions were started"


async def test_who_has_no_key(serve: Serve, tmp_path: Path) -> None:
    server = await serve(server={"api_key": "the-key"}, access={"failures_per_minute": 0})
    before = [path.name for path in server.root.iterdir()]
    status, told = await schemathesis(server, tmp_path, "", "--phases", "coverage", "--mode", "positive")
    _passed(status, told, operations=COUNT, at_least=150)
    assert not server.lives
    assert [path.name for path in server.root.iterdir()] == before


async def test_a_server_on_loopback_that_wants_no_key(serve: Serve, tmp_path: Path) -> None:
    server = await serve(sessions={"max_sessions": 100, "first_seconds": 3600})
    status, told = await schemathesis(
        server,
        tmp_path,
        "",
        "--phases",
        "examples,fuzzing",
        "--max-examples",
        "2",
        "--exclude-operation-id",
        "sessionEvents",
        "--generation-with-security-parameters",
        "false",
        "--exclude-checks",
        "ignored_auth,missing_required_header",
    )
    _passed(status, told, operations=COUNT - 1, at_least=80)


async def test_a_lie_is_found(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""
    wrong = {200: Answer("Wrong.", {"type": "array"})}
    changed = tuple(replace(each, answers=wrong) if each.name == "livez" else each for each in OPERATIONS)
    monkeypatch.setattr(api, "OPERATIONS", changed)
    server = await serve()
    status, told = await schemathesis(server, tmp_path, "", "--phases", "coverage", "--include-operation-id", "livez")
    assert status == 1
    assert "Response violates schema" in told
