"""What Lectern is run with: each file is read by the program that it is for, and agrees with the others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import load
from server.version import version
from tests.debian import program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NAMES = re.compile(r"\$\{(\w+)")


def run(*words: str | Path, folder: Path | None = None, **environment: str) -> str:
    """Its output; a failure fails the test."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def own_program(name: str) -> Path:
    """One that a Python package brought into this environment."""
    return Path(sys.executable).parent / name


# -- systemd ------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    text = (DEPLOY / "systemd" / "lectern.service").read_text()
    assert "ExecStart=/opt/lectern/.venv/bin/python run.py" in text
    path = tmp_path / "lectern.service"
    path.write_text(text.replace("/opt/lectern/.venv/bin/python", sys.executable))
    return path


def test_systemd_takes_the_unit(unit: Path) -> None:
    told = run(program("systemd-analyze", "systemd"), "verify", unit)
    assert "lectern" not in told, told


def test_the_unit_shuts_what_it_can(unit: Path) -> None:
    """systemd's own measure, 0 (nothing open) to 10: below 2 is what it calls OK, an unchanged service has 9.6."""
    told = run(program("systemd-analyze", "systemd"), "security", "--offline=true", unit)
    level = re.search(r"exposure level for lectern\.service: (\S+)", told)
    assert level is not None, told
    assert float(level[1]) < 2.0


def test_a_stop_outlasts_the_drain() -> None:
    unit = (DEPLOY / "systemd" / "lectern.service").read_text()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    drain = load(ROOT / "config.yaml", dotenv=Path("/nonexistent")).server.drain_seconds
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= drain + 30
    assert int(compose["services"]["lectern"]["stop_grace_period"].removesuffix("s")) >= drain + 30


def test_the_units_configuration_is_one() -> None:
    config = DEPLOY / "systemd" / "config.yaml"
    settings = load(config, dotenv=Path("/nonexistent"))
    assert settings.server.host == "127.0.0.1"
    kept = (settings.avatars.dir, settings.access.keys_file, settings.access.token_file, settings.recording.dir)
    assert all(path.is_relative_to("/var/lib/lectern") for path in kept), "the unit lets it write there only"


# -- containers ---------------------------------------------------------------------------------------------------


def test_the_dockerfile_is_well_made() -> None:
    run(own_program("hadolint"), DEPLOY / "docker" / "Dockerfile")


def test_compose_files_are_well_formed() -> None:
    files = [DEPLOY / "compose.yaml", DEPLOY / "compose.cuda.yaml"]
    run(own_program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files)


def test_every_variable_is_in_the_example_and_used() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert set(NAMES.findall(text)) == set(example)
    for name in example:  # one that is not filled in is told, not taken for ""
        assert f"${{{name}:?" in text, name


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_what_compose_mounts_is_there() -> None:
    files = [
        volume.split(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert len(files) >= 4
    assert [file for file in files if not (DEPLOY / file).exists()] == []


def test_nothing_but_the_proxy_and_media_is_open_to_the_network() -> None:
    wide = {
        (name, str(port))
        for name, service in compose()["services"].items()
        for port in service.get("ports", [])
        if not str(port).startswith("127.0.0.1:")
    }
    assert {name for name, _ in wide} == {"caddy", "lectern"}
    assert {port for name, port in wide if name == "lectern"} == {"50000-50005:50000-50005/udp"}


def test_every_image_is_pinned_and_every_service_is_looked_after() -> None:
    for name, service in compose()["services"].items():
        assert re.search(r":[\w.-]+$", service["image"]), name
        assert service["image"].rsplit(":")[-1] != "latest", name
        assert service["restart"] == "unless-stopped"
        assert name == "lectern" or "healthcheck" in service, name
    assert "HEALTHCHECK" in (DEPLOY / "docker" / "Dockerfile").read_text()


def test_the_containers_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the server does not know would be refused at its start."""
    own = compose()["services"]["lectern"]["environment"]
    image = re.findall(
        r"((?:LECTERN|AVATARS|MUSETALK)_\w+)=('[^']*'|\S+)", (DEPLOY / "docker" / "Dockerfile").read_text()
    )
    values = {name: value.strip("'") for name, value in image} | {name: str(value) for name, value in own.items()}
    for name, value in values.items():
        monkeypatch.setenv(name, NAMES.sub("203.0.113.7", value.replace("}", "")).split(":?")[0])
    monkeypatch.setenv("DATABASE_URL", "postgresql://lectern:word@postgres:5432/lectern")
    settings = load(ROOT / "config.yaml", dotenv=Path("/nonexistent"))
    assert settings.server.host == "0.0.0.0"
    assert settings.access.trusted_proxies == ("172.31.250.0/24",)
    assert (settings.webrtc.port_min, settings.webrtc.port_max) == (50000, 50005)
    kept = (settings.avatars.dir, settings.access.keys_file, settings.access.token_file, settings.recording.dir)
    assert all(path.is_relative_to("/data") for path in kept)


def test_the_image_holds_what_the_server_imports(tmp_path: Path) -> None:
    """What .dockerignore lets through and the Dockerfile copies is enough to start: every module can be imported."""
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for word in line.split()[:-1]
        if "/" not in word
    }
    assert copied <= kept
    for name in copied:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    told = run(
        sys.executable, "-c", "import run, server.app, server.main, server.doctor; print('all')", folder=tmp_path
    )
    assert "all" in told


# -- proxies and coturn -------------------------------------------------------------------------------------------


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    nginx = program("nginx", "nginx-light")
    folder = tmp_path / "certificate"
    folder.mkdir()
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run("openssl", *words, "-subj", "/CN=lectern", "-keyout", key, "-out", certificate)
    text = (DEPLOY / "nginx" / "lectern.conf").read_text()
    text = text.replace("/etc/letsencrypt/live/lectern.school.example", str(folder)).replace(
        "/var/log/nginx", str(tmp_path)
    )
    (tmp_path / "lectern.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\n"
        f"http {{ include {tmp_path}/lectern.conf; }}\n"
    )
    run(nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf")


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    caddy = program("caddy", "caddy")
    config = DEPLOY / "caddy" / "Caddyfile"
    home = {"HOME": str(tmp_path), "LECTERN_DOMAIN": "localhost", "LECTERN_UPSTREAM": "lectern:9000"}
    told = run(caddy, "adapt", "--config", config, "--adapter", "caddyfile", **home)
    assert '"dial":"lectern:9000"' in told


# -- one version --------------------------------------------------------------------------------------------------


def test_the_newest_version_is_described() -> None:
    found = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert found[0] == version()
    assert found == sorted(found, key=lambda text: [int(part) for part in text.split(".")], reverse=True)
