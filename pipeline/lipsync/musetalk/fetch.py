"""Gets MuseTalk's files from the hub: resumed where they were cut off, checked, and put in place whole."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from pipeline.lipsync.musetalk.hub import Digest, Facts, Hub, Interrupted, Patience, Refused
from pipeline.lipsync.musetalk.installation import FETCH_COMMAND, Version

ENDPOINT = "https://huggingface.co"
_SPARE = 64 << 20  # bytes of the disk that are left free


class FetchError(Exception):
    """Files could not be fetched; str() names each with what is wrong and what to do."""


class _Wrong(Exception):
    """A whole transfer brought another file than was promised."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where the hub has it, and where it goes under `models/`. optional: MuseTalk runs without it.

    version: the only one that needs it. sha256: of the published file; it is held against the hub itself, while another
    HF_ENDPOINT is taken at its own word.
    """

    repo: str
    path: str
    target: str
    sha256: str = ""
    optional: bool = False
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How far one file is. total: bytes, 0 while unknown. note: what happens, in words. over: nothing more comes."""

    file: str
    done: int = 0
    total: int = 0
    note: str = ""
    over: bool = False


Report = Callable[[Step], None]

_MUSETALK, _VAE, _WHISPER = "TMElyralab/MuseTalk", "stabilityai/sd-vae-ft-mse", "openai/whisper-tiny"
# Only weights have a sha256 here: they do not change, while a configuration on `main` may.
SOURCES = (
    Source(_MUSETALK, "musetalkV15/musetalk.json", "musetalkV15/musetalk.json", version="1.5"),
    Source(
        _MUSETALK,
        "musetalkV15/unet.pth",
        "musetalkV15/unet.pth",
        "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
        version="1.5",
    ),
    Source(_MUSETALK, "musetalk/musetalk.json", "musetalk/musetalk.json", version="1.0"),
    Source(_MUSETALK, "musetalk/pytorch_model.bin", "musetalk/pytorch_model.bin", version="1.0"),
    Source(_VAE, "config.json", "sd-vae/config.json"),
    Source(
        _VAE,
        "diffusion_pytorch_model.bin",
        "sd-vae/diffusion_pytorch_model.bin",
        "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
    ),
    Source(_WHISPER, "config.json", "whisper/config.json"),
    Source(
        _WHISPER,
        "pytorch_model.bin",
        "whisper/pytorch_model.bin",
        "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
    ),
    Source(_WHISPER, "preprocessor_config.json", "whisper/preprocessor_config.json"),
    Source(
        "ManyOtherFunctions/face-parse-bisent",
        "79999_iter.pth",
        "face-parse-bisent/79999_iter.pth",
        "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        optional=True,
    ),
)


def fetch(
    base: Path,
    report: Report,
    *,
    versions: Sequence[Version] = ("1.5", "1.0"),
    endpoint: str | None = None,
    token: str | None = None,
    patience: Patience | None = None,
    sources: Sequence[Source] = SOURCES,
) -> list[str]:
    """Make sure `base`/models holds MuseTalk's files; gives a sentence for each optional file that could not be had.

    endpoint, token: HF_ENDPOINT and HF_TOKEN unless given. What is there and right stays, what was cut off is resumed;
    each file appears whole or not at all. Blocking; run it again after an interruption.
    Raises FetchError, once every file was tried.
    """
    address = endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT
    secret = token if token is not None else os.environ.get("HF_TOKEN", "")
    try:
        hub = Hub(address, secret.strip(), patience or Patience())
    except ValueError as error:
        raise FetchError(f"HF_ENDPOINT: {error}") from error
    wanted = [source for source in sources if source.version is None or source.version in versions]
    return asyncio.run(_all(base / "models", wanted, hub, report))


async def _all(models: Path, sources: Sequence[Source], hub: Hub, report: Report) -> list[str]:
    wrong: list[str] = []
    without: list[str] = []
    async with hub:
        for source in sources:
            try:
                await _one(models / source.target, source, hub, report)
            except Refused as error:
                report(Step(source.target, note=str(error), over=True))
                (without if source.optional else wrong).append(f"{source.target} (of {source.repo}): {error}")
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong)
        raise FetchError(
            f"Not all of MuseTalk's files could be fetched from {hub.endpoint}:\n{listed}\n"
            f"What has come is kept; go on with: {FETCH_COMMAND}"
        )
    return without


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
