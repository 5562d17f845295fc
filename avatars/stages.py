"""The settings of a build, and how its stages are run: each in a child process under limits, its answer understood."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatars import models
from avatars.errors import MESSAGES, AvatarError
from avatars.normalise import Bounds
from avatars.sandbox import Completed, Limits, run_limited

Progress = Callable[[float], None]
_HOME = Path(__file__).resolve().parents[1]
_REASONS = {"cpu": "too_slow", "time": "too_slow", "memory": "too_much_memory", "size": "too_large"}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How avatars are built.

    max_bytes: of an upload. min_free_bytes: of the disk, or nothing is begun. parallel: builds at a time. cpu_seconds,
    wall_seconds, memory_bytes, nice: of each of a build's two children; probe: the limits of the first look.
    """

    models: Path = models.DEFAULT_FOLDER
    max_height: int = 720
    max_seconds: float = 30.0
    max_bytes: int = 500 << 20
    min_free_bytes: int = 500 << 20
    max_queued: int = 20
    parallel: int = 1
    cpu_seconds: int = 300
    wall_seconds: float = 600.0
    memory_bytes: int = 2 << 30
    nice: int = 10
    probe: Limits = field(
        default_factory=lambda: Limits(cpu_seconds=10, memory_bytes=1 << 30, wall_seconds=30.0, nice=0)
    )

    def bounds(self) -> Bounds:
        return Bounds(max_height=self.max_height, max_seconds=self.max_seconds)

    def limits(self) -> Limits:
        return Limits(
            cpu_seconds=self.cpu_seconds,
            memory_bytes=self.memory_bytes,
            wall_seconds=self.wall_seconds,
            nice=self.nice,
        )


async def run_child(name: str, spec: dict[str, Any], limits: Limits, tell: Progress, *, about: str) -> dict[str, Any]:
    """Run `python -m avatars.<name>` on a job (see its module); gives its result. tell: told its progress, 0..1.

    about: the avatar's id, for the log. Raises AvatarError: what the child said, or what its end means.
    """
    answer: dict[str, Any] = {}

    def hear(line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            log.warning("%s said: %.200s", name, line)
            return
        if isinstance(message, dict):
            answer.update(message)
            if isinstance(message.get("progress"), float | int):
                tell(min(max(float(message["progress"]), 0.0), 1.0))

    args = [sys.executable, "-m", f"avatars.{name}", json.dumps(spec)]
    ended = await run_limited(args, limits=limits, on_line=hear, cwd=_HOME)
    return _answer(name, about, ended, answer)


def _answer(name: str, avatar_id: str, ended: Completed, answer: dict[str, Any]) -> dict[str, Any]:
    if ended.returncode == 0 and isinstance(answer.get("result"), dict):
        return dict(answer["result"])
    if ended.stderr_tail:
        log.warning("%s on %s: %s", name, avatar_id, ended.stderr_tail[-2000:])
    if answer.get("error") in MESSAGES:
        raise AvatarError(answer["error"], str(answer.get("message", ""))[:500])
    log.warning("%s on %s ended with %s (%s)", name, avatar_id, ended.returncode, ended.reason)
    if ended.reason in _REASONS:
        raise AvatarError(_REASONS[ended.reason])
    # A decoder that crashes was given something it cannot read; nothing else is fed with foreign data.
    raise AvatarError("unreadable" if name == "decode_child" else "internal")
