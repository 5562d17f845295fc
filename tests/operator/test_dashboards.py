"""The dashboard and the alerts: every figure they name is there, and alerts fire for what they say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipeline.events import Problem
from tests.debian import program
from tests.operator.promql import named
from tests.server.conftest import Serve

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "lectern.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
OF_PROMETHEUS = {"up"}
GIVEN = {"instance", "job", "le"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression."""
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield f"annotation {note['name']}", note["expr"]
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]


async def test_every_figure_is_in_a_real_scrape(serve: Serve) -> None:
    running = await serve()
    made = await running.session()
    path = f"/v1/sessions/{made['session_id']}"
    assert (await running.client.post(f"{path}/say", json={"text": "Hello."})).status == 202
    assert (await running.client.post(f"{path}/interrupt")).status == 200
    running.sessions.get(made["session_id"]).emit(Problem("voice_fallback", "Another voice goes on."))
    text = await (await running.client.get("/metrics")).text()
    there: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            there.setdefault(sample.name, set()).update(sample.labels)

    checked = 0
    for where, expression in expressions():
        found = named(expression)
        assert found.metrics, where
        missing = found.metrics - there.keys() - OF_PROMETHEUS
        assert not missing, f"{where}: nothing tells {sorted(missing)}"
        for metric, labels in found.labels.items():
            assert labels <= there.get(metric, set()) | GIVEN, f"{where}: {metric} has no {sorted(labels)}"
        known = {label for metric in found.metrics for label in there.get(metric, ())}
        assert found.grouped <= known | GIVEN, f"{where}: no {sorted(found.grouped - known)} to group by"
        checked += 1
    assert checked > 60
    assert named(DASHBOARD["templating"]["list"][1]["definition"].replace("label_values", "max")).metrics <= (
        there.keys() | {"instance"}
    )


def test_names_of_an_expression() -> None:
    """The test above can fail."""
    found = named('sum by (le, kind) (rate(lectern_a_bucket{instance=~"$i", kind="x"}[5m])) / clamp_min(b, 1e-9) > 2')
    assert found.metrics == {"lectern_a_bucket", "b"}
    assert found.labels == {"lectern_a_bucket": {"instance", "kind"}}
    assert found.grouped == {"le", "kind"}


def test_panels_lie_side_by_side_and_say_what_they_show() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels())


def test_grafana_finds_them() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "$PROMETHEUS_URL")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "lectern.yml").read_text())["providers"]
    assert provider["type"] == "file"
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert scrape["rule_files"] == ["alerts.yml"]
    assert [job["job_name"] for job in scrape["scrape_configs"]] == ["lectern"]  # what LecternDown asks for


def test_every_alert_is_explained() -> None:
    manual = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in RULES:
        assert f"`{rule['alert']}`" in manual, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


# -- with Prometheus' own tool ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promtool() -> Path:
    return program("promtool", "prometheus")


def run(tool: Path, *arguments: str, folder: Path) -> None:
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_expression(promtool: Path, tmp_path: Path) -> None:
    rules = []
    for number, (_, expression) in enumerate(expressions()):
        plain = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        rules.append({"record": f"expression_{number}", "expr": plain})
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", "dashboard.yml", folder=tmp_path)
    run(promtool, "check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"), folder=tmp_path)


def test_prometheus_takes_its_configuration(promtool: Path, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        (tmp_path / name).write_text((DEPLOY / "prometheus" / name).read_text())
    (tmp_path / "key").touch()
    config = tmp_path / "prometheus.yml"
    config.write_text(config.read_text().replace("/etc/prometheus/lectern/key", str(tmp_path / "key")))
    run(promtool, "check", "config", "prometheus.yml", folder=tmp_path)


INSTANCE = 'instance="a:9000"'

FIRING: dict[str, dict[str, str]] = {
    "LecternDown": {f'up{{job="lectern", {INSTANCE}}}': "1 0x60"},
    "LecternNotReady": {f"lectern_ready{{{INSTANCE}}}": "1 0x60"},
    "LecternLateMouths": {
        f"lectern_mouths_total{{{INSTANCE}}}": "0+900x60",
        f"lectern_mouths_late_total{{{INSTANCE}}}": "0+100x60",
    },
    "LecternLateFrames": {
        f"lectern_pictures_total{{{INSTANCE}}}": "0+1500x60",
        f"lectern_pictures_skipped_total{{{INSTANCE}}}": "0+30x60",
        f"lectern_pictures_late_total{{{INSTANCE}}}": "0+30x60",
    },
    "LecternEventLoopLate": {
        f'lectern_event_loop_late_seconds_bucket{{{INSTANCE}, le="0.04"}}': "0+50x60",
        f'lectern_event_loop_late_seconds_bucket{{{INSTANCE}, le="0.08"}}': "0+60x60",
        f'lectern_event_loop_late_seconds_bucket{{{INSTANCE}, le="+Inf"}}': "0+60x60",
    },
    "LecternSlowAnswers": {
        f'lectern_say_to_sound_seconds_bucket{{{INSTANCE}, kind="typed", le="3.0"}}': "0+2x60",
        f'lectern_say_to_sound_seconds_bucket{{{INSTANCE}, kind="typed", le="5.0"}}': "0+4x60",
        f'lectern_say_to_sound_seconds_bucket{{{INSTANCE}, kind="typed", le="+Inf"}}': "0+4x60",
        f'lectern_say_to_sound_seconds_count{{{INSTANCE}, kind="typed"}}': "0+4x60",
    },
    "LecternRefusals": {f'lectern_admission_refused_total{{{INSTANCE}, cause="seats"}}': "0+1x60"},
    "LecternDiskLow": {
        f"lectern_disk_free_bytes{{{INSTANCE}}}": "4e9x60",
        f"lectern_disk_bytes{{{INSTANCE}}}": "1e12x60",
    },
    "LecternDiskFull": {
        f"lectern_disk_free_bytes{{{INSTANCE}}}": "19e10-5e8x200",
        f"lectern_disk_bytes{{{INSTANCE}}}": "1e12x200",
    },
    "LecternRendererDown": {f"lectern_renderer_ready{{{INSTANCE}}}": "0x60"},
    "LecternBuildsFail": {
        f'lectern_avatar_builds_total{{{INSTANCE}, outcome="failed", code="internal"}}': "0+1x60",
    },
    "LecternRecordsLost": {f"lectern_records_lost_total{{{INSTANCE}}}": "0+1x60"},
}

QUIET: dict[str, str] = {
    f'up{{job="lectern", {INSTANCE}}}': "1x120",
    f"lectern_ready{{{INSTANCE}}}": "1x120",
    f"lectern_renderer_ready{{{INSTANCE}}}": "1x120",
    f"lectern_mouths_total{{{INSTANCE}}}": "0+900x120",
    f"lectern_mouths_late_total{{{INSTANCE}}}": "0+1x120",
    f"lectern_pictures_total{{{INSTANCE}}}": "0+1500x120",
    f"lectern_pictures_skipped_total{{{INSTANCE}}}": "0+1x120",
    f"lectern_pictures_late_total{{{INSTANCE}}}": "0+5x120",
    f'lectern_admission_refused_total{{{INSTANCE}, cause="draining"}}': "0+10x120",
    f'lectern_admission_refused_total{{{INSTANCE}, cause="seats"}}': "0x100 1 2 3x18",
    f'lectern_avatar_builds_total{{{INSTANCE}, outcome="failed", code="no_face"}}': "0+1x120",
    f"lectern_disk_free_bytes{{{INSTANCE}}}": "5e11x120",
    f"lectern_disk_bytes{{{INSTANCE}}}": "1e12x120",
    f"lectern_records_lost_total{{{INSTANCE}}}": "0x120",
}


def test_alerts_fire_for_what_they_say_and_only_then(promtool: Path, tmp_path: Path) -> None:
    assert FIRING.keys() == {rule["alert"] for rule in RULES}
    # Texts are the rules' own business here: whether each fires is what is asked.
    bare = [{key: rule[key] for key in ("alert", "expr", "for", "labels") if key in rule} for rule in RULES]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "lectern", "rules": bare}]}))
    tests = []
    for rule in RULES:
        name = rule["alert"]
        slow = name == "LecternDiskFull"
        labels = {"severity": rule["labels"]["severity"], "instance": "a:9000"}
        if name == "LecternDown":
            labels["job"] = "lectern"
        tests.append(
            {
                "interval": "5m" if slow else "1m",
                "input_series": [{"series": series, "values": values} for series, values in FIRING[name].items()],
                "alert_rule_test": [
                    {"eval_time": "12h" if slow else "50m", "alertname": name, "exp_alerts": [{"exp_labels": labels}]}
                ],
            }
        )
    quiet = [{"eval_time": "110m", "alertname": rule["alert"], "exp_alerts": []} for rule in RULES]
    series = [{"series": each, "values": values} for each, values in QUIET.items()]
    tests.append({"interval": "1m", "input_series": series, "alert_rule_test": quiet})
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    run(promtool, "test", "rules", "tests.yml", folder=tmp_path)


def test_texts_of_alerts_name_only_what_prometheus_fills_in() -> None:
    for rule in RULES:
        for text in rule["annotations"].values():
            for inside in re.findall(r"\{\{(.*?)\}\}", text):
                assert re.fullmatch(r" \$(labels\.\w+|value( \| humanize\w*)?) ", inside), text


async def test_prometheus_reads_every_figure(serve: Serve, promtool: Path) -> None:
    """Its own tool also knows what it frowns upon (exit 3), such as a name without a unit; here it is to read them."""
    server = await serve()
    text = await (await server.client.get("/metrics")).read()
    done = await asyncio.to_thread(
        lambda: subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    )
    assert done.returncode in (0, 3), done.stderr.decode()
    assert b"error while linting" not in done.stderr, done.stderr.decode()
