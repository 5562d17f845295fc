"""Fetching MuseTalk from a stand-in hub on loopback: whole, resumed, checked, and told when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

import run
from pipeline.lipsync.musetalk.fetch import SOURCES, FetchError, Source, Step, fetch
from pipeline.lipsync.musetalk.hub import Patience, declared
from pipeline.lipsync.musetalk.installation import find
from server import musetalk_commands

from .made_faces import GOLDEN

QUICK = Patience(connect=5, silence=5, pauses=(0.0, 0.0))


class StandInHub:
    """A hub as Hugging Face's answers: big files by way of another host, with their facts in the first answer.

    A file's fault is taken from `faults` at each transfer: "cut" sends half and breaks off, "flip" sends a wrong byte,
    a number is sent as the status.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str | int]] = {}
        self.transfers: list[tuple[str, int, int]] = []  # path, first byte, bytes sent
        self.tokens: dict[str, set[str | None]] = {"hub": set(), "store": set()}
        self.ports: list[int] = []
        self.ranges = True
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add(self, repo: str, path: str, content: bytes) -> None:
        self.files[f"{repo}/{path}"] = content

    def add_golden(self) -> None:
        for source in SOURCES:
            if (GOLDEN / "models" / source.target).is_file():
                self.add(source.repo, source.path, (GOLDEN / "models" / source.target).read_bytes())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runners = []
        for handler, route in ((self._resolve, "/{owner}/{name}/resolve/main/{path:.+}"), (self._store, "/{key:.+}")):
            app = web.Application()
            app.router.add_get(route, handler)
            runner = web.AppRunner(app)
            self._loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, "127.0.0.1", 0)
            self._loop.run_until_complete(site.start())
            self.ports.append(runner.addresses[0][1])
            runners.append(runner)
        self._ready.set()
        self._loop.run_forever()
        for runner in runners:
            self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        self.tokens["hub"].add(request.headers.get("Authorization"))
        where = request.match_info
        key = f"{where['owner']}/{where['name']}/{where['path']}"
        content = self.files.get(key)
        if content is None:
            raise web.HTTPNotFound
        if where["path"].endswith(".json"):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return await self._send(request, key, content, {"ETag": f'"{etag}"'})
        facts = {
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Location": f"http://127.0.0.1:{self.ports[1]}/{key}",
        }
        return web.Response(status=302, headers=facts)

    async def _store(self, request: web.Request) -> web.StreamResponse:
        self.tokens["store"].add(request.headers.get("Authorization"))
        key = request.match_info["key"]
        return await self._send(request, key, self.files[key], {"ETag": '"of-the-store-2"'})

    async def _send(
        self, request: web.Request, key: str, content: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        span = request.headers.get("Range", "") if self.ranges else ""
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), int(last or len(content) - 1) + 1
        asked = span == "bytes=0-0"
        faults = self.faults.get(key, [])
        fault = None if asked or not faults else faults.pop(0)
        if isinstance(fault, int):
            return web.Response(status=fault)
        body = content[start:end]
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        if span:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        response.content_length = len(body)
        await response.prepare(request)
        if fault == "cut":
            body = body[: len(body) // 2]
        elif fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        if not asked:
            self.transfers.append((key, start, len(body)))
        await response.write(body)
        if fault == "cut":
            assert request.transport is not None
            request.transport.close()
        return response


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    hub.start()
    yield hub
    hub.stop()


BIG = Source("owner/model", "weights/big.bin", "here/big.bin")
SMALL = Source("owner/model", "config.json", "here/config.json")
CONTENT = bytes(range(256)) * 4000


def _fetch(base: Path, hub: StandInHub, *sources: Source, token: str = "") -> tuple[list[Step], list[str]]:
    steps: list[Step] = []
    without = fetch(base, steps.append, endpoint=hub.address, token=token, patience=QUICK, sources=sources or (BIG,))
    return steps, without


def _notes(steps: list[Step]) -> list[str]:
    return [step.note for step in steps if step.note not in ("", "checking")]


@pytest.mark.shared
@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden installation is missing: {GOLDEN}")
def test_the_command_fetches_an_installation_that_can_be_used(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add_golden()
    monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
    monkeypatch.setenv("MUSETALK_BASE", str(tmp_path / "muse"))
    assert run.main(["models", "fetch", "musetalk"]) == 0
    for version in ("1.5", "1.0"):
        found = find(tmp_path / "muse", version)  # type: ignore[arg-type]
        assert found.unet_weights.read_bytes() == find(GOLDEN, version).unet_weights.read_bytes()  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert "MuseTalk runs without it" in out  # the golden installation has no BiSeNet
    assert "unet.pth: 100%" in err
    assert not list(tmp_path.rglob("*.part"))

    sent = len(hub.transfers)
    assert run.main(["models", "fetch", "musetalk", "--base", str(tmp_path / "muse")]) == 0
    assert len(hub.transfers) == sent
    assert "unet.pth: is there already" in capsys.readouterr().err


def test_only_the_version_that_is_asked_for(hub: StandInHub, tmp_path: Path) -> None:
    for source in SOURCES:
        hub.add(source.repo, source.path, b"{}")
    assert fetch(tmp_path, lambda _: None, versions=("1.5",), endpoint=hub.address, patience=QUICK) == []
    assert (tmp_path / "models/musetalkV15/unet.pth").is_file()
    assert not (tmp_path / "models/musetalk").exists()


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.faults["owner/model/weights/big.bin"] = ["cut"] * 5  # more than the pauses: each brought something
    steps, _ = _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT
    starts = [start for _, start, _ in hub.transfers]
    assert starts[0] == 0
    assert all(later > 0 for later in starts[1:])
    assert sum(count for *_, count in hub.transfers) < 1.5 * len(CONTENT)
    assert any("once more" in note for note in _notes(steps))


def test_an_interrupted_fetch_goes_on_at_the_next_one(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)

    def stop(step: Step) -> None:
        if step.done:
            raise KeyboardInterrupt

    hub.faults["owner/model/weights/big.bin"] = ["cut"]
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, stop, endpoint=hub.address, patience=QUICK, sources=(BIG,))
    assert not (tmp_path / "models/here/big.bin").exists()
    _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT
    assert hub.transfers[-1][1] > 0


def test_a_hub_without_ranges_begins_anew(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    (tmp_path / "models/here").mkdir(parents=True)
    (tmp_path / "models/here/.big.bin.part").write_bytes(b"x" * 1000)
    hub.ranges = False
    _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT


def test_a_wrong_hash_is_fetched_once_more_and_then_named(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.add("owner/model", "config.json", b'{"a": 1}')
    hub.faults["owner/model/weights/big.bin"] = ["flip"]
    _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT

    (tmp_path / "models/here/big.bin").unlink()
    hub.faults["owner/model/weights/big.bin"] = ["flip"] * 9
    hub.faults["owner/model/config.json"] = ["flip"] * 9
    with pytest.raises(FetchError) as error:
        _fetch(tmp_path, hub, BIG, SMALL)
    assert "here/big.bin (of owner/model): it came twice, and its sha256 hash is" in str(error.value)
    assert "here/config.json (of owner/model): it came twice, and its git hash is" in str(error.value)
    assert list((tmp_path / "models/here").iterdir()) == []


def test_a_damaged_part_is_not_built_upon_for_ever(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    (tmp_path / "models/here").mkdir(parents=True)
    (tmp_path / "models/here/.big.bin.part").write_bytes(b"x" * 1000)
    _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT


def test_a_damaged_file_is_replaced(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    _fetch(tmp_path, hub)
    (tmp_path / "models/here/big.bin").write_bytes(CONTENT[:-1] + b"?")
    steps, _ = _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT
    assert "is there, but is another file: fetching it anew" in _notes(steps)


def test_all_files_that_fail_are_named_and_the_others_come(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    missing = Source("owner/model", "gone.bin", "here/gone.bin")
    hub.add("owner/model", "config.json", b"{}")
    hub.faults["owner/model/config.json"] = [503] * 9
    with pytest.raises(FetchError) as error:
        _fetch(tmp_path, hub, missing, SMALL, BIG)
    assert "here/gone.bin (of owner/model): the hub has no such file" in str(error.value)
    assert "here/config.json (of owner/model): the hub answered 503" in str(error.value)
    assert "python run.py models fetch musetalk" in str(error.value)
    assert (tmp_path / "models/here/big.bin").is_file()


def test_an_overloaded_hub_is_asked_again(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.faults["owner/model/weights/big.bin"] = [503, 429]
    _fetch(tmp_path, hub)
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT


def test_the_token_goes_to_the_hub_only(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    _fetch(tmp_path, hub, token="secret")
    assert hub.tokens == {"hub": {"Bearer secret"}, "store": {None}}


def test_a_second_fetch_at_the_same_time_is_told(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    failed: list[str] = []

    def again(step: Step) -> None:
        if step.done and not failed:
            other = threading.Thread(target=meanwhile)
            other.start()
            other.join(20)

    def meanwhile() -> None:
        try:
            _fetch(tmp_path, hub)
        except FetchError as error:
            failed.append(str(error))

    fetch(tmp_path, again, endpoint=hub.address, patience=QUICK, sources=(BIG,))
    assert "another process is fetching it" in failed[0]
    assert (tmp_path / "models/here/big.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="HF_ENDPOINT"):
        fetch(tmp_path, lambda _: None, endpoint=endpoint)


def test_a_hub_that_is_not_there_is_told(tmp_path: Path, hub: StandInHub) -> None:
    with pytest.raises(FetchError, match=r"here/big\.bin"):
        fetch(tmp_path, lambda _: None, endpoint="http://127.0.0.1:9", patience=QUICK, sources=(BIG,))


def test_a_full_disk_is_told_before_the_transfer(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    hub.add("owner/model", "weights/big.bin", CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(FetchError, match="the disk has no room"):
        _fetch(tmp_path, hub)


def test_an_etag_is_a_hash_by_its_length_only() -> None:
    assert declared(f'"{"a" * 64}"') is not None
    assert declared(f'W/"{"b" * 40}"') is not None
    assert declared('"17f2a-1b"') is None
    assert declared("") is None


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(musetalk_commands.time, "monotonic", lambda: float(next(now)))
    for out in (_Terminal(), io.StringIO()):
        bars = musetalk_commands.FetchBars(out)
        for done in range(0, 3_000_001, 500_000):
            bars.show(Step("unet.pth", done, 3_000_000))
        bars.show(Step("unet.pth", 3_000_000, 3_000_000, "fetched", over=True))
        bars.end()
        said = out.getvalue()
        if out.isatty():
            assert "[############            ]  50% of     3 MB     500 kB/s  unet.pth" in said
            assert said.endswith("unet.pth: fetched\n")
        else:
            shares = [line.split()[1] for line in said.splitlines()]
            assert shares == ["0%", "33%", "50%", "83%", "100%", "fetched"]
