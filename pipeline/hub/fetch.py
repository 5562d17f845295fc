"""Gets files from a hub: resumed where they were cut off, checked, and put in place whole."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from pipeline.hub.client import Digest, Facts, Hub, Interrupted, Patience, Refused

ENDPOINT = "https://huggingface.co"
_SPARE = 64 << 20  # bytes of the disk that are left free


class FetchError(Exception):
    """Files could not be fetched; str() names each with what is wrong and what to do."""


class _Wrong(Exception):
    """A whole transfer brought another file than was promised."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where the hub has it, and where it goes, below the folder. optional: it need not be had.

    sha256: of the published file; it is held against the hub itself, while another HF_ENDPOINT is taken at its own
    word.
    """

    repo: str
    path: str
    target: str
    sha256: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """How far one file is. total: bytes, 0 while unknown. note: what happens, in words. over: nothing more comes."""

    file: str
    done: int = 0
    total: int = 0
    note: str = ""
    over: bool = False


Report = Callable[[Step], None]


def fetch(
    folder: Path,
    sources: Sequence[Source],
    report: Report,
    *,
    what: str,
    command: str,
    endpoint: str | None = None,
    token: str | None = None,
    patience: Patience | None = None,
) -> list[str]:
    """Make sure `folder` holds these files; gives a sentence for each optional file that could not be had.

    what, command: for the error; what the files are, and what to type to go on. endpoint, token: HF_ENDPOINT and
    HF_TOKEN unless given. What is there and right stays, what was cut off is resumed; each file appears whole or not at
    all. Blocking; run it again after an interruption. Raises FetchError, once every file was tried.
    """
    address = endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT
    secret = token if token is not None else os.environ.get("HF_TOKEN", "")
    try:
        hub = Hub(address, secret.strip(), patience or Patience())
    except ValueError as error:
        raise FetchError(f"HF_ENDPOINT: {error}") from error
    wrong, without = asyncio.run(_all(folder, sources, hub, report))
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong)
        raise FetchError(
            f"Not all of {what} could be fetched from {hub.endpoint}:\n{listed}\n"
            f"What has come is kept; go on with: {command}"
        )
    return without


async def _all(folder: Path, sources: Sequence[Source], hub: Hub, report: Report) -> tuple[list[str], list[str]]:
    """What is wrong with files that are needed, and with optional ones."""
    wrong: list[str] = []
    without: list[str] = []
    async with hub:
        for source in sources:
            try:
                await _one(folder / source.target, source, hub, report)
            except Refused as error:
                report(Step(source.target, note=str(error), over=True))
                (without if source.optional else wrong).append(f"{source.target} (of {source.repo}): {error}")
    return wrong, without


async def _one(target: Path, source: Source, hub: Hub, report: Report) -> None:
    """One file, with as many attempts as bring something, and a few that don't. Raises Refused."""
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as lock:
            # Let go of when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                await _attempts(target, part, source, hub, report)
            finally:
                if _length(part) == 0:
                    part.unlink(missing_ok=True)
    except BlockingIOError:
        raise Refused("another process is fetching it") from None
    except OSError as error:
        raise Refused(f"it cannot be written: {error.strerror or error}") from error


async def _attempts(target: Path, part: Path, source: Source, hub: Hub, report: Report) -> None:
    pauses = list(hub.patience.pauses)
    wrong = 0
    while True:
        before = _length(part)
        try:
            await _attempt(target, part, source, hub, report)
            return
        except _Wrong as error:
            wrong += 1
            if wrong == 2:
                raise Refused(f"it came twice, and {error}") from error
            reason = str(error)
        except (Interrupted, aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        if _length(part) > before:
            pauses = list(hub.patience.pauses)
        if not pauses:
            raise Refused(reason)
        pause = pauses.pop(0)
        report(Step(source.target, _length(part), note=f"{reason}; once more in {pause:.0f} s"))
        await asyncio.sleep(pause)


async def _attempt(target: Path, part: Path, source: Source, hub: Hub, report: Report) -> None:
    facts = await hub.facts(source.repo, source.path)
    if source.sha256 and str(hub.endpoint).rstrip("/") == ENDPOINT:
        facts = Facts(facts.size, Digest("sha256", source.sha256))
    total = facts.size or 0
    if target.is_file():
        if _is(target, facts, lambda done: report(Step(source.target, done, total, "checking"))) is None:
            report(Step(source.target, total, total, "is there already", over=True))
            return
        report(Step(source.target, 0, total, "is there, but is another file: fetching it anew"))
    if facts.size is not None and _length(part) > facts.size:
        os.truncate(part, 0)
    if facts.size is None or _length(part) < facts.size:
        await _download(part, source, facts, hub, report)
    problem = _is(part, facts, lambda done: report(Step(source.target, done, total, "checking")))
    if problem is not None:
        os.truncate(part, 0)
        raise _Wrong(problem)
    os.replace(part, target)
    report(Step(source.target, total, total, "fetched", over=True))


async def _download(part: Path, source: Source, facts: Facts, hub: Hub, report: Report) -> None:
    have = _length(part)
    missing = (facts.size or 0) - have
    if shutil.disk_usage(part.parent).free < missing + _SPARE:
        raise Refused(f"the disk has no room for it: {missing / 1e9:.1f} GB more are needed in {part.parent}")
    async with hub.bytes_from(source.repo, source.path, have) as (start, pieces):
        with part.open("r+b") as file:
            file.truncate(start)
            file.seek(start)
            done = start
            async for piece in pieces:
                file.write(piece)
                done += len(piece)
                report(Step(source.target, done, facts.size or 0))
                if facts.size is not None and done > facts.size:
                    break
            file.flush()
            os.fsync(file.fileno())
    if facts.size is not None and done < facts.size:
        raise Interrupted(f"the transfer ended after {done} of {facts.size} bytes")


def _is(path: Path, facts: Facts, tell: Callable[[int], None]) -> str | None:
    """What is wrong with a file, in words; None: it is the one the hub has."""
    size = path.stat().st_size
    if facts.size is not None and size != facts.size:
        return f"it has {size} bytes instead of {facts.size}"
    if facts.digest is not None and (got := facts.digest.of(path, tell)) != facts.digest.value:
        return f"its {facts.digest.kind} hash is {got} instead of {facts.digest.value}"
    return None


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
