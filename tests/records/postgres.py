"""A PostgreSQL of the tests' own: Debian's, with its data in a temporary folder, reached by a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian import program

START_SECONDS = 60.0
LIFE_SECONDS = 1800  # it ends by itself if the tests are killed
PASSWORD = "s3cret-of-the-school"  # of the role "school", which must tell it
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60", "shared_buffers=16MB")


@contextmanager
def running() -> Iterator[Path]:
    """The folder of its socket."""
    initdb = program("initdb", "postgresql")
    postgres = program("postgres", "postgresql")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="lectern-pg-"))
    folder.chmod(0o755)
    data, sockets = folder / "data", folder / "s"
    for each in (data, sockets):
        each.mkdir(mode=0o700)
        if user is not None:
            os.chown(each, user.pw_uid, user.pw_gid)
    sockets.chmod(0o755)
    who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    log = (folder / "log").open("wb")
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            stdout=log,
            stderr=log,
            cwd="/",
            timeout=START_SECONDS,
            **who,
        )
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all school scram-sha-256\n{rules.read_text()}")
        options = [word for option in (*_QUICK, f"unix_socket_directories={sockets}") for word in ("-c", option)]
        server = subprocess.Popen(
            ["timeout", "--signal=INT", str(LIFE_SECONDS), postgres, "-D", data, "-c", "listen_addresses=", *options],
            stdout=log,
            stderr=log,
            cwd="/",
            **who,
        )
        try:
            _wait(server, sockets, folder / "log")
            yield sockets
        finally:
            server.send_signal(signal.SIGINT)  # `timeout` hands it on: whoever is connected is cut off
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)
    finally:
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root. None: as who runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _wait(server: subprocess.Popen[bytes], sockets: Path, log: Path) -> None:
    ready = program("pg_isready", "postgresql")
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        if subprocess.run([ready, "-q", "-h", sockets], check=False, timeout=10).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
