"""API keys: made, kept, found again, taken away; and a file of them that cannot be trusted."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError

import run
from pipeline.events import Caption
from server.access import key_file
from server.access.key_file import KeyFileError
from server.access.keys import Keys
from server.access.roles import ROLES, may
from server.keys import BUILDER, KEYS
from tests.access.conftest import Found
from tests.rtc.clients import LIMIT, until
from tests.server.conftest import Serve, problem


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    key, shown = key_file.add(path, "service", "the school's web server")
    assert re.fullmatch(r"lk_[a-z0-9]{8}_[A-Za-z0-9]{43}", shown)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_text()
    assert shown.rpartition("_")[2] not in written
    kept = json.loads(written)
    assert kept["version"] == 1
    assert [(each["id"], each["role"], each["name"]) for each in kept["keys"]] == [
        (key.id, "service", "the school's web server")
    ]
    keys = Keys(path)
    caller = keys.known(shown)
    assert caller is not None
    assert (caller.role, caller.key_id, caller.name) == ("service", key.id, "the school's web server")


def test_what_is_not_exactly_a_key_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, shown = key_file.add(path, "admin", "")
    _, other = key_file.add(path, "teacher", "")
    keys = Keys(path)
    prefix, key_id, secret = shown.split("_")
    for wrong in (
        "",
        shown[:-1],
        shown + "A",
        shown.swapcase(),
        f"{prefix}_{key_id}_{other.split('_')[2]}",  # the secret of another
        f"{prefix}_{other.split('_')[1]}_{secret}",
        f"{prefix}_{key_id}_",
        f"{prefix}_{key_id}_{key_file.hash_of(secret)[:43]}",  # what a thief of the file has
        key_file.hash_of(secret),
        shown + "\n",
        "\udcff" + shown[1:],
    ):
        assert keys.known(wrong) is None, wrong


def test_each_role_may_what_the_lower_ones_may() -> None:
    allowed = {role: {needed for needed in ROLES if may(role, needed)} for role in ROLES}
    assert allowed == {
        "admin": {"admin", "service", "teacher"},
        "service": {"service", "teacher"},
        "teacher": {"teacher"},
    }


def test_keys_of_two_makers_at_once_are_all_kept(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: key_file.add(path, "teacher", str(number)), range(24)))
    keys = Keys(path)
    assert all(keys.known(shown) is not None for _, shown in made)
    assert sorted(path.parent.glob(".keys.json.*")) == [path.parent / ".keys.json.lock"]  # no draft stays behind


def _damaged(path: Path) -> list[tuple[str, str]]:
    key_file.add(path, "admin", "")
    good = json.loads(path.read_text())
    first = good["keys"][0]
    return [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        (json.dumps({**good, "version": 2}), "version"),
        (json.dumps({**good, "keys": [{**first, "role": "root"}]}), "role"),
        (json.dumps({**good, "keys": [{**first, "hash": "abc"}]}), "hash"),
        (json.dumps({**good, "keys": [first, first]}), "same id"),
        (json.dumps({**good, "more": 1}), "more"),
    ]


def test_a_damaged_file_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for text, word in _damaged(path):
        path.write_text(text)
        with pytest.raises(KeyFileError, match=word) as caught:
            Keys(path)
        assert "Restore it from a copy" in str(caught.value)
        before = path.read_text()
        with pytest.raises(KeyFileError):
            key_file.add(path, "admin", "")
        assert path.read_text() == before  # it is not written over


def test_a_file_that_others_may_write_is_refused_and_one_they_may_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.json"
    key_file.add(path, "admin", "")
    path.chmod(0o620)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Keys(path)
    path.chmod(0o644)
    Keys(path)
    assert "keys_file_readable" in capsys.readouterr().out


def test_a_key_that_root_makes_can_be_read_by_the_servers_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.chown", lambda file, user, group: given.append((user, group)))
    key_file.add(tmp_path / "keys.json", "admin", "")
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)]


async def test_a_running_server_takes_changes_over(school: Found) -> None:
    there = await school()
    _, new = key_file.add(there.keys_file, "teacher", "later")
    await until(lambda: there.server.app[KEYS].known(new) is not None)
    assert (await there.ask("GET", "/v1/avatars", new)).status == 200
    key_file.remove(there.keys_file, new.split("_")[1])
    there.server.app[KEYS].reload()
    await problem(await there.ask("GET", "/v1/avatars", new), 401, "unauthorized")
    there.keys_file.write_text("{")  # a mistake of its keeper shuts nobody out and lets nobody in
    with pytest.raises(KeyFileError):
        there.server.app[KEYS].reload()
    assert (await there.ask("GET", "/v1/avatars", "teacher")).status == 200
    await problem(await there.ask("GET", "/v1/avatars", new), 401, "unauthorized")


@pytest.mark.parametrize("who", ["service", "token"])
async def test_a_stream_ends_with_the_key_that_opened_it(school: Found, who: str) -> None:
    there = await school()
    made = await there.session()
    url = f"/v1/sessions/{made['session_id']}/events"
    stream = await there.ask("GET", url, made["engine_token"] if who == "token" else who)
    assert stream.status == 200
    assert (await stream.content.readline()).startswith(b"retry:")
    key_file.remove(there.keys_file, there.keys["service"].split("_")[1])
    if who == "service":
        with pytest.raises(ClientPayloadError):
            async with asyncio.timeout(LIMIT):
                await stream.content.readuntil(b"never")
        return
    await there.server.app[KEYS].renew()
    there.server.sessions.get(made["session_id"]).emit(Caption("u", 0, "a word", 0.0, 1.0))
    assert b"a word" in await stream.content.readuntil(b"a word")


async def test_the_stream_of_an_avatar_ends_with_the_key_too(school: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    there = await school()

    async def never(avatar_id: str) -> AsyncIterator[Any]:
        yield await asyncio.to_thread(there.server.store.get, avatar_id)
        await asyncio.Event().wait()

    monkeypatch.setattr(there.server.app[BUILDER], "events", never)
    stream = await there.ask("GET", "/v1/avatars/ada/events", "teacher")
    assert (await stream.content.readline()).startswith(b"data:")
    key_file.remove(there.keys_file, there.keys["teacher"].split("_")[1])
    with pytest.raises(ClientPayloadError):
        async with asyncio.timeout(LIMIT):
            await stream.content.readuntil(b"never")


async def test_the_first_key_closes_a_server_and_the_last_ones_removal_does_not_open_it(
    serve: Serve, tmp_path: Path
) -> None:
    server = await serve()
    assert (await server.client.get("/v1/avatars")).status == 200
    key, shown = key_file.add(tmp_path / "keys.json", "admin", "")
    server.app[KEYS].reload()
    await problem(await server.client.get("/v1/avatars"), 401, "unauthorized")
    assert (await server.client.get("/v1/avatars", headers={"Authorization": f"Bearer {shown}"})).status == 200
    key_file.remove(tmp_path / "keys.json", key.id)
    server.app[KEYS].reload()
    told = await problem(await server.client.get("/v1/avatars"), 401, "unauthorized")
    assert ".venv/bin/python run.py keys add --role " in told["detail"]


async def test_without_keys_what_a_proxy_passes_on_is_refused(serve: Serve) -> None:
    """A proxy on the same machine makes the whole world look like this machine."""
    server = await serve()
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"):
        for method, path in (("GET", "/v1/avatars"), ("POST", "/v1/sessions"), ("GET", "/v1/sessions/none")):
            answer = await server.client.request(method, path, json={}, headers={header: "203.0.113.7"})
            found = await problem(answer, 401, "unauthorized")
            assert ".venv/bin/python run.py keys add --role admin" in found["detail"]


def test_the_command_makes_lists_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("access: {keys_file: k/keys.json}\n")

    def keys(*words: str) -> tuple[int, str, str]:
        code = run.main(["--config", str(config), "keys", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert keys("list")[:2] == (0, "")
    code, shown, told = keys("add", "--role", "teacher", "--name", "Ms Lovelace")
    assert code == 0
    assert re.fullmatch(r"lk_\w+\n", shown)  # alone, for KEY=$(…)
    assert "once" in told
    secret = shown.strip().rpartition("_")[2]
    key_id = shown.split("_")[1]
    code, listed, _ = keys("list")
    assert code == 0
    assert key_id in listed
    assert "teacher" in listed
    assert "Ms Lovelace" in listed
    assert secret not in listed
    assert keys("remove", "nosuchid")[0] == 1
    code, _, told = keys("remove", key_id)
    assert code == 0
    assert "last one" in told
    assert keys("list")[1] == ""
    assert keys("add", "--role", "admin", "--name", "x" * 101)[0] == 1
    assert keys("add", "--role", "admin", "--name", "a\x1b[31mb")[0] == 1
    (tmp_path / "k" / "keys.json").write_text("{")
    code, _, told = keys("list")
    assert code == 1
    assert "damaged" in told
