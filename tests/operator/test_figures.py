"""/metrics: what happened to viewers, turns, engines and builds, and what the server is made of now."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from pipeline.lipsync.engine import Batches
from pipeline.stats import SessionStats
from pipeline.timings import STEP, Spread
from server.keys import PEERS, PULSE
from server.metrics import Metrics
from server.metrics.families import histogram, sizes
from server.metrics.links import Links
from server.pulse import Pulse
from server.rtc.peer import PeerStats
from tests.rtc.clients import AiortcViewer, until
from tests.server.conftest import Serve
from tests.server.test_probes import figures


def test_a_spread_counts_up_to_its_bounds() -> None:
    spread = Spread((0.1, 0.2))
    for seconds in (0.05, 0.1, 0.15, 0.2, 9.0):
        spread.add(seconds)
    assert spread.counts == [2, 2, 1]
    assert spread.sum == pytest.approx(9.5)
    family = histogram("x_seconds", "", spread, "engine", "warp")
    told = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert told == {"0.1": 2, "0.2": 4, "+Inf": 5}
    assert all(sample.labels["engine"] == "warp" for sample in family.samples)
    assert list(STEP) == sorted(STEP)


def test_sizes_are_counted_by_their_bounds() -> None:
    family = sizes("batch", "", (1, 2, 4), {1: 5, 3: 2, 8: 1})
    told = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    assert told == {
        "1.0": 5,
        "2.0": 5,
        "4.0": 7,
        "+Inf": 8,
        "lectern_batch_count": 8,
        "lectern_batch_sum": 5 + 6 + 8,
    }


def stats(packets: int, lost: int, **more: Any) -> PeerStats:
    values = {
        "state": "connected",
        "seconds": 1.0,
        "bytes": packets * 100,
        "packets": packets,
        "rtt": 0.02,
        "loss": 0.0,
        "packets_lost": lost,
        "estimate": None,
        "keys_wanted": 0,
    }
    return PeerStats(**{**values, **more})  # type: ignore[arg-type]


def value(metric: Any) -> float:
    return float(next(sample.value for family in metric.collect() for sample in family.samples))


def test_counters_of_connections_only_grow() -> None:
    metrics = Metrics()
    links, happened = Links(metrics.happened), metrics.happened
    links.looked("a", stats(100, 4))
    links.looked("b", stats(50, 0))
    links.looked("a", stats(180, 2))  # two that were thought lost came late
    assert (value(happened.packets), value(happened.lost)) == (230, 4)
    links.left("a", stats(200, 5))
    links.left("b", None)
    links.looked("a", stats(10, 1))  # another connection of the same name begins anew
    assert (value(happened.packets), value(happened.lost), value(happened.bytes)) == (260, 6, 26_000)


async def test_a_viewers_first_picture_and_its_packets(serve: Serve) -> None:
    running = await serve()
    made = await running.session()
    viewer = AiortcViewer()
    headers = {"Authorization": f"Bearer {made['engine_token']}", "Content-Type": "application/sdp"}
    try:
        answer = await running.client.post(made["whep_url"], data=await viewer.offer(), headers=headers)
        assert answer.status == 201
        await viewer.accept(await answer.text())
        await viewer.until(lambda: viewer.frames >= 3)
        during = await figures(running.client)
        assert during["lectern_first_frame_seconds_count{since=offer}"] == 1
        assert during["lectern_first_frame_seconds_count{since=session}"] == 1
        offer, session = (during[f"lectern_first_frame_seconds_sum{{since={since}}}"] for since in ("offer", "session"))
        assert 0 < offer < session
        assert during["lectern_viewers"] == 1
        async with running.client.ws_connect(made["engine_url"]):  # as every student's page does
            for path in ("/v1/sessions", "/v1/admin/sessions"):
                (listed,) = (await (await running.client.get(path)).json())["sessions"]
                assert (listed["status"], listed["viewers"]) == ("active", 1)
        await running.app[PEERS].close()  # it leaves between two looks: what it got counts all the same
        after = await figures(running.client)
        assert after["lectern_packets_sent_total"] > 3
        assert after["lectern_sent_bytes_total"] > 1000
        assert after["lectern_viewers"] == 0
    finally:
        await viewer.close()


async def test_a_second_viewer_is_no_first_picture_of_the_session(serve: Serve) -> None:
    running = await serve()
    metrics = Metrics()
    session = running.sessions.get((await running.session())["session_id"])
    metrics.created(session)
    metrics.first_picture(session.id, 0.2)
    metrics.first_picture(session.id, 0.3)
    metrics.first_picture("of nobody", 0.1)
    counts = {
        since: next(
            sample.value
            for family in metrics.happened.first_frame.collect()
            for sample in family.samples
            if sample.name.endswith("_count") and sample.labels["since"] == since
        )
        for since in ("offer", "session")
    }
    assert counts == {"offer": 3, "session": 1}


async def test_batches_of_the_engine_that_draws_them(serve: Serve) -> None:
    running = await serve()
    assert (await figures(running.client))["lectern_render_seconds_count{engine=fake}"] == 0
    spread = Spread()
    for _ in range(4):
        spread.add(0.02)
    running.engine.batches = lambda: Batches({1: 1, 8: 3}, spread)  # type: ignore[attr-defined]
    running.engine.figures = lambda: {  # type: ignore[attr-defined]
        "status": "down",
        "device": None,
        "mouths_per_second": 400.0,
        "capacity": 14,
        "restarts": 2,
        "drawn": 25,
        "skipped": 1,
        "problem": "its worker ended",
    }
    told = await figures(running.client)
    assert told["lectern_render_seconds_count{engine=fake}"] == 4
    assert told["lectern_batch_size_count"] == 4
    assert told["lectern_batch_size_sum"] == 25
    assert told["lectern_renderer_ready"] == 0
    assert told["lectern_renderer_restarts_total"] == 2
    assert told["lectern_renderer_mouths_total{outcome=skipped}"] == 1
    assert told["lectern_renderer_capacity"] == 14


async def test_process_readiness_and_disk(serve: Serve) -> None:
    running = await serve()
    told = await figures(running.client)
    assert told["lectern_ready"] == 1
    assert told["lectern_ready_check{check=storage}"] == 1
    assert 0 < told["lectern_disk_free_bytes"] <= told["lectern_disk_bytes"]
    assert told["process_open_fds"] > 5
    assert told["process_resident_memory_bytes"] > 1e7
    assert told["process_cpu_seconds_total"] > 0
    running.sessions.refuse_new("draining", "The server is being stopped.")
    told = await figures(running.client)
    assert told["lectern_ready"] == 0
    assert told["lectern_ready_check{check=serving}"] == 0
    assert told["lectern_refusing"] == 1


async def test_totals_outlive_their_sessions(serve: Serve) -> None:
    running = await serve()
    made = await running.session()
    base = running.lives[0].stats()
    running.lives[0].stats = lambda: dataclasses.replace(base, pictures=100, mouths_late=3)  # type: ignore[method-assign]
    assert (await figures(running.client))["lectern_pictures_total"] == 100
    assert (await running.client.delete(f"/v1/sessions/{made['session_id']}")).status == 204
    await running.session()
    told = await figures(running.client)
    assert (told["lectern_pictures_total"], told["lectern_mouths_late_total"]) == (100, 3)


async def test_labels_hold_no_ids(serve: Serve) -> None:
    running = await serve()
    made = await running.session(student_id="li-wei")
    said = await running.client.post(f"/v1/sessions/{made['session_id']}/say", json={"text": "Hello."})
    assert said.status == 202
    text = await (await running.client.get("/metrics")).text()
    for secret in (made["session_id"], "li-wei", '"ada"', made["engine_token"]):
        assert secret not in text


# -- the pulse ----------------------------------------------------------------------------------------------------


async def test_the_pulse_counts_pictures_and_tells_a_late_loop(serve: Serve) -> None:
    running = await serve()
    await running.app[PULSE].close()
    made = await running.session()
    session = running.sessions.get(made["session_id"])
    late: list[float] = []
    now = [time.monotonic()]  # when the pulse looked at the clock last

    def clock() -> float:
        now[0] = time.monotonic()
        return now[0]

    pulse = Pulse(running.sessions, running.app[PEERS], late=late.append, clock=clock)
    base, begun = running.lives[0].stats(), now[0]

    def stats_of_now() -> SessionStats:
        return dataclasses.replace(base, pictures=int((now[0] - begun) * 25))

    running.lives[0].stats = stats_of_now  # type: ignore[method-assign]
    assert pulse.fps(session.id) is None
    await pulse.start()
    try:
        await until(lambda: pulse.fps(session.id) is not None)
        rate = pulse.fps(session.id)
        assert rate is not None
        assert rate == pytest.approx(25, abs=1.1)
        time.sleep(1.3)  # noqa: ASYNC251 - the loop stands still
        await until(lambda: max(late) > 0.2)
    finally:
        await pulse.close()
    assert pulse.link(session.id).viewers == 0
