"""Foreign pages, foreign names, and the headers of the pages."""

from __future__ import annotations

import asyncio

import pytest

from server.settings import Settings
from tests.server.conftest import Serve, problem

EVIL = {"Origin": "https://evil.example"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
async def test_foreign_pages_change_nothing(serve: Serve, origin: str) -> None:
    server = await serve()
    made = await server.session()
    headers = {"Origin": origin}
    for method, path in (
        ("POST", "/v1/sessions"),
        ("POST", f"/v1/sessions/{made['session_id']}/say"),
        ("DELETE", f"/v1/sessions/{made['session_id']}"),
        ("DELETE", "/v1/avatars/ada"),
        ("POST", "/v1/avatars/upload"),
    ):
        await problem(await server.client.request(method, path, json={}, headers=headers), 403, "forbidden_origin")
    upgrade = {**headers, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    await problem(await server.client.get(made["engine_url"], headers=upgrade), 403, "forbidden_origin")
    answer = await server.client.get("/v1/avatars", headers=headers)
    assert "Access-Control-Allow-Origin" not in answer.headers  # the browser keeps it from the page
    preflight = {**headers, "Access-Control-Request-Method": "POST"}
    answer = await server.client.options("/v1/sessions", headers=preflight)
    assert "Access-Control-Allow-Methods" not in answer.headers
    assert len(server.sessions.all()) == 1


async def test_own_pages_and_friends(serve: Serve) -> None:
    server = await serve(server={"allowed_origins": ("https://school.example",)})
    body = {"avatar_id": "ada", "student_id": "s"}
    own = f"http://{server.client.host}:{server.client.port}"
    assert (await server.client.post("/v1/sessions", json=body, headers={"Origin": own})).status == 201
    friend = {"Origin": "https://school.example"}
    answer = await server.client.post("/v1/sessions", json=body, headers=friend)
    assert answer.status == 201
    assert answer.headers["Access-Control-Allow-Origin"] == "https://school.example"
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    made = await answer.json()
    for path in ("/v1/sessions", made["whep_url"]):
        preflight = {**friend, "Access-Control-Request-Method": "POST"}
        answer = await server.client.options(path, headers=preflight)
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    await problem(await server.client.post("/v1/sessions", json=body, headers=EVIL), 403, "forbidden_origin")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9000", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
async def test_names_that_are_not_this_machine(serve: Serve, host: str) -> None:
    """DNS rebinding: a foreign page whose name was pointed at 127.0.0.1."""
    server = await serve()
    await problem(await server.client.get("/v1/avatars", headers={"Host": host}), 403, "forbidden_host")


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:9000", "LOCALHOST", "lectern.school.example"])
async def test_names_that_are(serve: Serve, host: str) -> None:
    server = await serve(server={"allowed_hosts": ("lectern.school.example",)})
    assert (await server.client.get("/v1/avatars", headers={"Host": host})).status == 200


async def test_any_name_reaches_a_server_that_is_meant_for_all(serve: Serve) -> None:
    server = await serve(server={"host": "0.0.0.0", "api_key": "k"})
    headers = {"Host": "lectern.school.example", "Authorization": "Bearer k"}
    assert (await server.client.get("/v1/avatars", headers=headers)).status == 200


async def test_pages_are_protected_and_revalidated(serve: Serve) -> None:
    server = await serve(server={"allowed_origins": ("https://school.example",)})
    for path in ("/", "/teacher", "/static/favicon.svg"):
        answer = await server.client.get(path)
        assert answer.status == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert policy.endswith("frame-ancestors 'self' https://school.example")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await server.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
    assert (await server.client.get("/v1/avatars")).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/nothing", "/static/nothing.js", "/static/../config.yaml", "/static/%2e%2e/run.py"])
async def test_what_is_not_there(serve: Serve, path: str) -> None:
    from yarl import URL

    server = await serve()
    answer = await server.client.get(URL(path, encoded=True))
    await problem(answer, 404, "not_found")


async def test_a_wrong_method_names_the_right_ones(serve: Serve) -> None:
    server = await serve()
    answer = await server.client.put("/v1/avatars")
    await problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_secrets_show_in_no_dump_of_the_settings() -> None:
    settings = Settings(webrtc={"turn_password": "geheim"}, server={"api_key": "geheim"})  # type: ignore[arg-type]
    assert "geheim" not in repr(settings)
    assert "geheim" not in settings.model_dump_json()


async def test_bytes_that_are_no_text_are_a_wrong_token_and_a_foreign_origin(serve: Serve) -> None:
    server = await serve()
    made = await server.session()
    address = f"/v1/sessions/{made['session_id']}"

    async def status(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client.port)
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.readline(), 30)
        finally:
            writer.close()

    head = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ".encode()
    assert b" 401 " in await status(head + b"\xff\xfe\r\n\r\n")
    assert b" 403 " in await status(
        f"DELETE {address} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\n\r\n".encode()
    )
    assert b" 403 " in await status(b"GET /v1/avatars HTTP/1.0\r\n\r\n")
    assert len(server.sessions.all()) == 1
