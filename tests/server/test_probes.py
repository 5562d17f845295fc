"""The operator's view: does it live, is it ready, and do the figures tell what happened."""

from __future__ import annotations

import shutil
from collections import namedtuple
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.events import Problem
from server.keys import STOPPING
from tests.server.conftest import Client, Serve

KEY = "operators-key-0123456789"


async def figures(client: Client) -> dict[str, float]:
    """Name and labels -> value, as Prometheus reads them."""
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    out = {}
    for family in text_string_to_metric_families(await response.text()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            out[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return out


async def test_it_lives_and_is_ready(serve: Serve) -> None:
    client = (await serve()).client
    assert (await client.get("/livez")).status == 200
    response = await client.get("/readyz")
    body = await response.json()
    assert response.status == 200, body
    assert body["status"] == "ready"
    assert {name: check["ok"] for name, check in body["checks"].items()} == dict.fromkeys(
        ("serving", "storage", "records", "engine", "voice", "listening"), True
    )


async def test_it_is_not_ready_while_it_stops(serve: Serve) -> None:
    running = await serve()
    client = running.client
    running.app[STOPPING].set()
    response = await client.get("/readyz")
    assert response.status == 503
    assert response.headers["Retry-After"] == "5"
    assert (await response.json())["checks"]["serving"] == {"ok": False, "detail": "it is being stopped"}
    assert (await client.get("/livez")).status == 200


async def test_it_is_not_ready_on_a_full_disk(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = (await serve()).client
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 5 << 20))
    response = await client.get("/readyz")
    assert response.status == 503
    assert "only 5 MB are free" in (await response.json())["checks"]["storage"]["detail"]


async def test_figures_need_the_key(serve: Serve) -> None:
    client = (await serve(server={"api_key": KEY})).client
    assert (await client.get("/metrics")).status == 401
    assert (await client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})).status == 200


async def test_figures_tell_what_happened(serve: Serve) -> None:
    running = await serve(sessions={"max_sessions": 1})
    client = running.client
    before = await figures(client)
    assert before["lectern_sessions{state=ready}"] == 0
    assert before["lectern_avatars{state=ready}"] == 1

    async def make() -> Any:
        return await client.post("/v1/sessions", json={"avatar_id": "ada", "student_id": "s1"})

    made = await make()
    assert made.status == 201
    assert (await make()).status == 503
    session_id = (await made.json())["session_id"]
    said = await client.post(f"/v1/sessions/{session_id}/say", json={"text": "Hello."})
    assert said.status == 202
    session = running.sessions.get(session_id)
    session.emit(Problem("voice_fallback", "Another voice goes on."))
    assert (await client.post(f"/v1/sessions/{session_id}/interrupt")).status == 200

    during = await figures(client)
    assert during["lectern_sessions{state=ready}"] == 1
    assert during["lectern_sessions_limit"] == 1
    assert during["lectern_sessions_created_total"] == 1
    assert during["lectern_admission_refused_total{cause=seats}"] == 1
    assert during["lectern_say_to_sound_seconds_count{kind=said}"] == 1
    assert 0 < during["lectern_say_to_sound_seconds_sum{kind=said}"] < 5
    assert during["lectern_turn_stage_seconds_count{stage=sound}"] == 1
    assert during["lectern_interrupt_seconds_count{by=request}"] == 1
    assert during["lectern_utterances_total{reason=interrupted}"] == 1
    assert during["lectern_problems_total{code=voice_fallback}"] == 1
    assert during["lectern_viewers"] == 0

    assert (await client.delete(f"/v1/sessions/{session_id}")).status == 204
    after = await figures(client)
    assert after["lectern_sessions{state=ready}"] == 0
    assert after["lectern_sessions_ended_total{reason=deleted}"] == 1
    assert after["lectern_pictures_total"] >= during["lectern_pictures_total"]


async def test_figures_that_fail_keep_no_session_open(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await serve()
    session_id = (await running.session())["session_id"]

    def broken() -> None:
        raise RuntimeError("no figures")

    monkeypatch.setattr(running.lives[0], "stats", broken)
    assert (await running.client.delete(f"/v1/sessions/{session_id}")).status == 204
    assert running.sessions.all() == []
    assert running.lives[0].closed
