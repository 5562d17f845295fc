"""Preparation in a process of its own: torch stays out of the server. `python -m …preparing ORDER-AS-JSON`."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatars.avatar import Avatar, Faces
from pipeline.lipsync.musetalk.settings import MuseTalkSettings
from pipeline.lipsync.musetalk.spawn import ROOT, environment

SILENT_SECONDS = 600.0
"""How long the process may say nothing: one batch of the full-size network on a slow CPU, with room."""
END_SECONDS = 10.0
"""How long it may take to end after its last word."""
_TAIL = 2000


class PreparationError(RuntimeError):
    """The avatar could not be prepared; str() says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is told. device: as in WorkerSettings."""

    base: str
    device: str
    threads: int
    settings: dict[str, Any]
    id: str
    folder: str
    width: int
    height: int
    count: int


def prepare_apart(
    avatar: Avatar,
    base: Path,
    settings: MuseTalkSettings,
    device: str,
    threads: int,
    progress: Callable[[float], None],
) -> None:
    """Prepare an avatar; blocking. What `progress` raises ends the process and goes on. Raises PreparationError."""
    order = {
        "base": str(base),
        "device": device,
        "threads": threads,
        "settings": settings.model_dump(),
        "id": avatar.id,
        "folder": str(avatar.path),
        "width": avatar.width,
        "height": avatar.height,
        "count": avatar.count,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.lipsync.musetalk.preparing", json.dumps(order)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said = _follow(process, progress)
        code = process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        raise PreparationError(f"the process did not end within {END_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    if code != 0:
        raise PreparationError(said.strip() or f"the process ended with status {code}")


def _follow(process: subprocess.Popen[bytes], progress: Callable[[float], None]) -> str:
    """Hand progress on until the process closes its output; gives the end of whatever else it said."""
    assert process.stdout is not None
    said, last = "", time.monotonic()
    while True:
        if not select.select([process.stdout], [], [], 1.0)[0]:
            if time.monotonic() - last > SILENT_SECONDS:
                raise PreparationError(f"nothing was heard of it for {SILENT_SECONDS:.0f} s")
            continue
        line = process.stdout.readline().decode(errors="replace")
        if not line:
            return said
        last = time.monotonic()
        word, _, rest = line.partition(" ")
        if word == "progress":
            progress(float(rest))
        else:
            said = (said + line)[-_TAIL:]


def main(arguments: list[str]) -> int:
    order = Order(**json.loads(arguments[0]))
    import numpy as np

    from avatars.master import map_cache
    from avatars.store import FACES

    folder = Path(order.folder)
    try:
        with np.load(folder / FACES, allow_pickle=False) as data:
            faces = Faces(data["landmarks"], data["box"], data["mouth"])
        frames = map_cache(folder, order.width, order.height, order.count)
    except (OSError, ValueError, KeyError) as error:
        print(f"the avatar cannot be read: {error}")
        return 1
    avatar = Avatar(order.id, folder, order.width, order.height, frames, faces)
    settings = MuseTalkSettings.model_validate(order.settings)
    import torch  # takes seconds

    from pipeline.lipsync.musetalk.installation import InstallationError, find
    from pipeline.lipsync.musetalk.prepare import prepare

    torch.set_num_threads(order.threads)
    device = order.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        prepare(
            avatar,
            find(Path(order.base), settings.version),
            settings,
            device,
            lambda value: print(f"progress {value:.4f}", flush=True),
        )
    except (InstallationError, OSError, torch.OutOfMemoryError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
