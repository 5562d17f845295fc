"""SIGHUP: what changes in a running server, what needs a restart, and a mistake that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.access.key_file import add
from server.keys import SETTINGS
from server.reload import Reloader, changes
from server.settings import Settings, SettingsError
from tests.server.conftest import Running, Serve, problem

Make = Callable[..., Settings]


async def reloaded(server: Running, load: Callable[[], Settings]) -> list[Any]:
    with capture_logs() as logs:
        await Reloader(server.app, load).reload()
    return [line for line in logs if "reloaded" in line["event"]]


def test_what_differs_is_named_and_secrets_are_not_told(settings_for: Make) -> None:
    old = settings_for(server={"api_key": "an-old-secret-key-that-is-long"})
    new = settings_for(
        server={"api_key": "a-new-secret-key-that-is-long"}, sessions={"max_sessions": 9}, video={"gop": 99}
    )
    found = {change.key: (change.old, change.new, change.now) for change in changes(old, new)}
    assert found == {
        "server.api_key": ("(secret)", "(secret)", False),
        "video.gop": ("250", "99", False),
        "sessions.max_sessions": ("8", "9", True),
    }


async def test_limits_change_and_sessions_go_on(serve: Serve, settings_for: Make) -> None:
    server = await serve(sessions={"max_sessions": 1})
    await server.session()
    body = {"avatar_id": "ada", "student_id": "s2"}
    await problem(await server.client.post("/v1/sessions", json=body), 503, "at_capacity")
    new = settings_for(sessions={"max_sessions": 2, "max_text_chars": 10}, video={"gop": 99})
    (keys, told) = await reloaded(server, lambda: new)
    assert keys["event"] == "keys_reloaded"
    assert told["changed"]["sessions.max_sessions"] == "1 -> 2"
    assert told["need_a_restart"] == ["video.gop"]
    assert server.app[SETTINGS].video.gop == 250
    made = await (await server.client.post("/v1/sessions", json=body)).json()
    answer = await server.client.post(f"/v1/sessions/{made['session_id']}/say", json={"text": "Eleven ches"})
    await problem(answer, 413, "too_large")
    assert len(server.lives) == 2
    assert not server.lives[0].closed
    shown = await (await server.client.get("/v1/admin/config")).json()
    assert shown["settings"]["sessions"]["max_sessions"] == 2


async def test_rates_change(serve: Serve, settings_for: Make) -> None:
    server = await serve(server={"api_key": "a-key-that-is-long-enough"})
    new = settings_for(server={"api_key": "a-key-that-is-long-enough"}, access={"requests_per_minute": 2})
    await reloaded(server, lambda: new)
    header = {"Authorization": "Bearer a-key-that-is-long-enough"}
    statuses = [(await server.client.get("/v1/sessions", headers=header)).status for _ in range(4)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


async def test_a_mistake_keeps_what_is_there(serve: Serve) -> None:
    server = await serve()
    before = server.app[SETTINGS].sessions

    def wrong() -> Settings:
        raise SettingsError("sessions.max_sessions: Input should be a valid integer (it is 'many')")

    (_, told) = await reloaded(server, wrong)
    assert told["log_level"] == "error"
    assert "sessions.max_sessions" in told["why"]
    assert server.app[SETTINGS].sessions is before
    await server.session()


async def test_a_broken_key_file_keeps_the_keys(serve: Serve, settings_for: Make, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    _, made = add(keys, "admin", "anna")
    server = await serve(access={"keys_file": keys})
    keys.write_text("no JSON")
    (told, _) = await reloaded(server, lambda: settings_for(access={"keys_file": keys}))
    assert told["event"] == "keys_not_reloaded"
    header = {"Authorization": f"Bearer {made}"}
    assert (await server.client.get("/v1/sessions", headers=header)).status == 200


@pytest.mark.parametrize("text", ["sessions: {max_sessions: many}\n", "sessions: [\n"])
def test_a_wrong_file_is_told_by_its_key(tmp_path: Path, text: str) -> None:
    from server.settings import load

    config = tmp_path / "config.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=r"max_sessions|config\.yaml"):
        load(config)


def test_an_empty_file_is_none_when_it_is_read_again(tmp_path: Path) -> None:
    """An editor, or a disk that is full, may have cut it off: all defaults are not what was meant."""
    from server.settings import load

    config = tmp_path / "config.yaml"
    config.write_text(" \n")
    assert load(config)
    with pytest.raises(SettingsError, match="is empty"):
        load(config, again=True)
    config.write_text("# nothing but words\n")
    assert load(config, again=True)
