"""Where else records show: names of avatars, pruning, readiness, metrics, and a start that cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.keys import RECORDS
from server.records.errors import RecordsUnavailable
from server.settings import ROOT
from tests.server.conftest import Running, Serve, add_ready


async def tutor(server: Running, **fields: Any) -> None:
    answer = await server.client.post("/v1/tutors", json=fields)
    assert answer.status == 201, await answer.text()


async def test_avatars_are_called_as_their_tutors(serve: Serve) -> None:
    server = await serve()
    for avatar_id, made_for in (("bob", ""), ("eve", "t-eve"), ("old", "t-ada")):
        add_ready(server.root, avatar_id, made_for)
    await tutor(server, id="t-ada", name="Ada Lovelace", avatar_id="ada")
    await tutor(server, id="second", name="Somebody", avatar_id="ada")
    await tutor(server, id="t-eve", name="Eve")
    listed = await (await server.client.get("/v1/avatars")).json()
    assert {item["id"]: item["tutor_name"] for item in listed["items"]} == {
        "ada": "Ada Lovelace",
        "bob": None,
        "eve": "Eve",
        "old": "Ada Lovelace",
    }
    assert (await (await server.client.get("/v1/avatars/eve")).json())["tutor_name"] == "Eve"


async def test_a_database_that_is_away_is_told_but_avatars_are_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    ready = await server.client.get("/readyz")
    assert (await ready.json())["checks"]["records"] == {
        "ok": True,
        "detail": "0 entries wait to be written, 0 were lost",
    }

    async def away(*args: Any) -> None:
        raise RecordsUnavailable("could not connect to 10.1.2.3")

    monkeypatch.setattr(server.app[RECORDS].database, "ping", away)
    monkeypatch.setattr(server.app[RECORDS].tutors, "links", away)
    answer = await server.client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["checks"]["records"] == {"ok": False, "detail": "the database does not answer"}
    assert (await (await server.client.get("/v1/avatars")).json())["items"][0]["tutor_name"] is None


async def test_what_is_written_and_lost_is_counted(serve: Serve) -> None:
    server = await serve()
    await server.session()
    await server.app[RECORDS].journal.flush()
    text = await (await server.client.get("/metrics")).text()
    figures = dict(re.findall(r"^(lectern_records_\w+) (\S+)$", text, re.MULTILINE))
    assert figures == {
        "lectern_records_waiting": "0.0",
        "lectern_records_written_total": "1.0",
        "lectern_records_lost_total": "0.0",
    }


@pytest.fixture
async def two_old_ones(serve: Serve) -> Running:
    """Avatars that nobody used for long, one of them a tutor's."""
    import os

    server = await serve()
    for avatar_id in ("hers", "nobodys"):
        add_ready(server.root, avatar_id)
        for path in (server.root / avatar_id, *(server.root / avatar_id).iterdir()):
            os.utime(path, (0, 0))
        record = server.root / avatar_id / "avatar.json"
        record.write_text(re.sub(r'"created_at": *"[^"]*"', '"created_at":"2020-01-01T00:00:00Z"', record.read_text()))
    await tutor(server, id="her", name="She", avatar_id="hers")
    return server


async def test_pruning_keeps_the_avatars_of_tutors(two_old_ones: Running) -> None:
    order = {"unused_days": 30}

    async def pruned(**more: bool) -> list[str]:
        answer = await two_old_ones.client.post("/v1/admin/avatars/prune", json={**order, **more})
        return sorted(each["avatar_id"] for each in (await answer.json())["avatars"])

    assert await pruned() == ["nobodys"]
    assert await pruned(include_linked=True) == ["hers", "nobodys"]


async def test_pruning_by_command_does_too(two_old_ones: Running, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"avatars: {{dir: {two_old_ones.root}}}\n")
    done = run(tmp_path, "avatar", "prune", "--unused-days", "30")
    assert "deletes nobodys" in done.stdout, done.stderr
    assert re.search(r"keeps +hers .*linked to a tutor", done.stdout)
    (tmp_path / "config.yaml").write_text(
        f"avatars: {{dir: {two_old_ones.root}}}\nrecords: {{database_url: 'postgresql://u:hush@127.0.0.1:1/d'}}\n"
    )
    done = run(tmp_path, "avatar", "prune", "--unused-days", "30")
    assert (done.returncode, done.stdout) == (1, "")
    assert "records.database_url: the tutors cannot be looked up" in done.stderr
    assert "hush" not in done.stderr


def test_a_server_whose_database_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "server: {port: 0}\nrecords: {database_url: 'postgresql://ada:hush@127.0.0.1:1/lectern'}\n"
    )
    done = run(tmp_path, "serve")
    assert done.returncode == 1
    assert (
        "records.database_url: the database (PostgreSQL on 127.0.0.1:1, database lectern) cannot be used" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr + done.stdout


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run.py"), "--config", str(folder / "config.yaml"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
