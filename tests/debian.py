"""Programs of Debian packages that tests start themselves, installed where they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.needs import missing

INSTALL_SECONDS = 300


def program(name: str, package: str, *, places: str = "/usr/lib/postgresql/*/bin") -> Path:
    """The program's path. Where it is missing, root installs its package; else the test is skipped (fails in CI).

    places: a pattern of folders outside PATH that may hold it.
    """
    found = _find(name, places)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
        found = _find(name, places)
    if found is None:
        missing(f"{name} is not installed (Debian package {package})")
    return found


def _find(name: str, places: str) -> Path | None:
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path)
    return max(Path("/").glob(f"{places.lstrip('/')}/{name}"), default=None)


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(
            ["apt-get", "-q", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            missing(f"{package} could not be installed: {done.stderr.strip()[-300:]}")
