"""What Lectern is run with: each file is read by the program that it is for, and agrees with the others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from server.settings import load
from server.version import version
from tests.debian import program
from tests.ports import free_port

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


def documented(start: str, page: str = "deploy.md") -> str:
    """The one line of a page's shell blocks that begins so, without its remark."""
    text = (ROOT / "docs" / page).read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line.split("   #")[0].rstrip()


def test_the_user_is_made_by_the_documented_line() -> None:
    words = documented("sudo systemd-sysusers ").removeprefix("sudo ")
    program("systemd-sysusers", "systemd")
    told = run("sh", "-c", words.replace("systemd-sysusers", "systemd-sysusers --dry-run"), folder=ROOT)
    assert "Failed" not in told


@pytest.fixture
def no_sudo(tmp_path: Path) -> str:
    """PATH with a sudo and a setpriv that change no user."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (folder / "setpriv").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    for each in folder.iterdir():
        each.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_command_opens_the_services_database(tmp_path: Path, no_sudo: str) -> None:
    """And nothing that is written in lectern.env is executed."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "config.yaml").write_text(f"avatars: {{dir: {tmp_path / 'avatars'}}}\n")
    secret = "a&b$(touch made)`id`;c#d"
    (etc / "lectern.env").write_text(
        f"# A remark.\n\nWEBRTC_TURN_SECRET='{secret}'\nLECTERN_MODEL__NAME={secret}\n"
        f'DATABASE_URL="sqlite:///{tmp_path}/its/own.db"'
    )
    text = (DEPLOY / "systemd" / "lectern.sh").read_text()
    text = text.replace("/opt/lectern", str(ROOT)).replace("/etc/lectern", str(etc))
    text = text.replace('"$home/.venv/bin/python"', f'"{sys.executable}"').replace('[ "$(id -u)" = 0 ]', "true")
    command = tmp_path / "lectern"
    command.write_text(text)
    told = run("sh", command, "avatar", "prune", "--unused-days", "90", folder=tmp_path, PATH=no_sudo)
    assert f"Tutors were looked up in {tmp_path}/its/own.db." in told

    command.write_text(re.sub(r"^exec setpriv .*$", "env", text, flags=re.MULTILINE))
    told = run("sh", command, folder=tmp_path, PATH=no_sudo)
    assert f"WEBRTC_TURN_SECRET={secret}\n" in told
    assert f"LECTERN_MODEL__NAME={secret}\n" in told
    assert not (tmp_path / "made").exists()


def test_prometheus_key_is_put_where_it_looks_and_others_do_not_read_it(tmp_path: Path, no_sudo: str) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    place = Path(config["scrape_configs"][0]["authorization"]["credentials_file"])
    folder = documented("sudo install -d -m 0750 -g prometheus ")
    key = documented("lectern keys add --role service --name prometheus ")
    assert folder.endswith(f" {place.parent}")
    assert key.endswith(f" {place}")
    lines = "\n".join((folder, key)).replace("-g prometheus", "").replace("/etc/prometheus", str(tmp_path / "etc"))
    told = run("sh", "-ec", f"lectern() {{ echo lk_secret; }}\n{lines}", PATH=no_sudo)
    made = tmp_path / "etc" / place.relative_to("/etc/prometheus")
    assert told == ""
    assert made.read_text() == "lk_secret\n"
    assert made.stat().st_mode & 0o777 == 0o640


def test_the_backup_comes_before_the_new_version() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    section = text[text.index("## Stopping, and a new version") : text.index("## Backups")]
    for first, then in (("pg_dump -Fc lectern |", "sudo git pull"), ("exec -T postgres pg_dump", "git pull && docker")):
        assert section.index(first) < section.index(then)
    ordered = ("sudo git pull", "make setup", "make listening", "daemon-reload", "restart lectern")
    places = [section.index(each) for each in ordered]
    assert places == sorted(places)


def test_turn_with_tls_has_a_port_of_its_own_beside_the_proxy() -> None:
    pages = {page: (ROOT / "docs" / page).read_text() for page in ("deploy.md", "networks.md")}
    (port,) = re.findall(r"^tls-listening-port=(\d+)$", pages["networks.md"], re.MULTILINE)
    assert port != "443"
    for page, text in pages.items():
        assert re.findall(r"turns:turn\.school\.example:(\d+)", text) == [port], page
        assert f"TCP {port}" in text, page


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


def test_the_images_health_check_asks_the_port_that_the_server_has() -> None:
    found = re.search(r"HEALTHCHECK .*\\\n +CMD (\[.*\])", (DEPLOY / "docker" / "Dockerfile").read_text())
    assert found
    _, *words = json.loads(found[1])
    server = HTTPServer(("127.0.0.1", 0), Told)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        run(sys.executable, *words, LECTERN_SERVER__PORT=str(server.server_port))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with pytest.raises(AssertionError):
        run(sys.executable, *words, LECTERN_SERVER__PORT=str(free_port()))


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


@pytest.fixture
def nginx_folder(tmp_path: Path) -> Path:
    """Its configuration, with a certificate and places that are there."""
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
    return tmp_path


def test_nginx_takes_its_configuration(nginx_folder: Path) -> None:
    run(program("nginx", "nginx-light"), "-t", "-p", nginx_folder, "-c", nginx_folder / "nginx.conf")


class Told(BaseHTTPRequestHandler):
    """Answers with the Host that it was told."""

    def do_GET(self) -> None:
        said = self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_nginx_passes_the_port_on(nginx_folder: Path, http: str) -> None:
    """On any but 443 a page's Origin has it, too; without it the server takes its own page for another's."""
    nginx = program("nginx", "nginx-light")
    curl = program("curl", "curl")
    port = free_port()
    server = HTTPServer(("127.0.0.1", 0), Told)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    conf = nginx_folder / "lectern.conf"
    text = conf.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{server.server_port}")
    text = re.sub(r"^ +listen .*(80|\]:443.*);$", "", text, flags=re.MULTILINE)
    text = text[text.index("map ") :].replace("listen 443", f"listen 127.0.0.1:{port}")
    conf.write_text(re.sub(r"server \{[^}]*return 301[^}]*\}", "", text))
    process = subprocess.Popen(
        [nginx, "-p", nginx_folder, "-c", nginx_folder / "nginx.conf", "-g", "daemon off; master_process off;"]
    )
    try:
        words = ["-sk", http, "--retry", "50", "--retry-delay", "1", "--retry-connrefused", "-d", "x"]
        told = run(curl, *words, f"https://127.0.0.1:{port}/v1/sessions")
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        thread.join(20)
        server.server_close()
    assert told == f"127.0.0.1:{port}"


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
