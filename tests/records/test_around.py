"""Where else records show: names of avatars, pruning, readiness, metrics, and a start that cannot be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import run
from server import doctor
from server.app import build_app
from server.keys import RECORDS
from server.records.errors import RecordsUnavailable
from server.settings import Settings, SettingsError
from tests.server.conftest import Running, Serve, add_ready
from tests.server.fakes import FakeEngine, quiet_book

NOWHERE = "postgresql://ada:hush@127.0.0.1:1/lectern"


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


def add_old(root: Path, avatar_id: str, made_for: str = "") -> None:
    add_ready(root, avatar_id, made_for, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.fixture
async def two_old_ones(serve: Serve) -> Running:
    """Avatars that nobody used for long, one of them a tutor's."""
    server = await serve()
    for avatar_id in ("hers", "nobodys"):
        add_old(server.root, avatar_id)
    await tutor(server, id="her", name="She", avatar_id="hers")
    return server


async def test_pruning_keeps_the_avatars_of_tutors(two_old_ones: Running) -> None:
    order = {"unused_days": 30}

    async def pruned(**more: bool) -> list[str]:
        answer = await two_old_ones.client.post("/v1/admin/avatars/prune", json={**order, **more})
        return sorted(each["avatar_id"] for each in (await answer.json())["avatars"])

    assert await pruned() == ["nobodys"]
    assert await pruned(include_linked=True) == ["hers", "nobodys"]


async def test_pruning_keeps_what_was_made_for_tutors_of_another_database(
    two_old_ones: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command without DATABASE_URL opens SQLite's empty file: it must not take PostgreSQL's tutors their faces."""
    add_old(two_old_ones.root, "theirs", "somebody-elsewhere")

    async def pruned(**more: bool) -> tuple[set[str], int]:
        answer = await two_old_ones.client.post("/v1/admin/avatars/prune", json={"unused_days": 30, **more})
        body = await answer.json()
        return {each["avatar_id"] for each in body["avatars"]}, body["kept"].get("unknown_tutor", 0)

    assert await pruned() == ({"nobodys"}, 1)
    assert await pruned(include_linked=True) == ({"hers", "nobodys", "theirs"}, 0)

    config = tmp_path / "config.yaml"
    empty = tmp_path / "elsewhere" / "none.db"
    config.write_text(f"avatars: {{dir: {two_old_ones.root}}}\nrecords: {{database_url: 'sqlite:///{empty}'}}\n")
    command = ["--config", str(config), "avatar", "prune", "--unused-days", "30", "--yes"]
    capsys.readouterr()
    assert await asyncio.to_thread(run.main, command) == 0
    printed = capsys.readouterr().out
    assert re.search(r"keeps +theirs .*another may know it \(--include-linked\)", printed)
    assert f"Tutors were looked up in {empty}." in printed
    assert (two_old_ones.root / "theirs").exists()
    assert await asyncio.to_thread(run.main, [*command, "--include-linked"]) == 0
    assert not (two_old_ones.root / "theirs").exists()


async def test_pruning_by_command_does_too(
    two_old_ones: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    command = ["--config", str(config), "avatar", "prune", "--unused-days", "30"]
    config.write_text(f"avatars: {{dir: {two_old_ones.root}}}\n")
    capsys.readouterr()
    assert await asyncio.to_thread(run.main, command) == 0
    printed = capsys.readouterr().out
    assert "deletes nobodys" in printed
    assert re.search(r"keeps +hers .*linked to a tutor", printed)

    config.write_text(f"avatars: {{dir: {two_old_ones.root}}}\nrecords: {{database_url: '{NOWHERE}'}}\n")
    assert await asyncio.to_thread(run.main, command) == 1
    printed, why = capsys.readouterr()
    assert printed == ""
    assert "records.database_url: the tutors cannot be looked up" in why
    assert "hush" not in why


async def test_the_doctor_looks_at_the_database(settings_for: Callable[..., Settings], url: str) -> None:
    async def found(**records: str) -> tuple[str, str]:
        finding = await asyncio.to_thread(doctor._database, settings_for(records=records))
        assert "hush" not in finding.found + finding.mend
        return finding.state, finding.found

    state, words = await found()
    assert (state, words.endswith("lectern.db: will be made at the start")) == ("ok", True)
    if url.startswith("postgresql"):
        state, words = await found(database_url=url)
        assert (state, words.endswith(" answers")) == ("ok", True)
    assert (await found(database_url=NOWHERE))[0] == "bad"
    assert (await found(database_url="mysql://u:hush@h/d"))[0] == "bad"


async def test_a_server_whose_database_cannot_be_opened_does_not_start(
    settings_for: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    app = build_app(settings_for(records={"database_url": NOWHERE}), engine=FakeEngine(), book=quiet_book())  # type: ignore[arg-type]
    runner = web.AppRunner(app)
    with pytest.raises(SettingsError) as wrong:
        await runner.setup()
    await runner.cleanup()
    assert str(wrong.value).startswith(
        "records.database_url: the database (PostgreSQL on 127.0.0.1:1, database lectern)"
    )
    assert "hush" not in str(wrong.value) + "".join(capsys.readouterr())
