"""Fetching from a stand-in hub on loopback: whole, resumed, checked, and told when it fails."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.hub.client import declared
from pipeline.hub.fetch import FetchError, Source, Step, fetch
from tests.hub.stand_in import QUICK, StandInHub

BIG = Source("owner/model", "weights/big.bin", "here/big.bin")
SMALL = Source("owner/model", "config.json", "here/config.json")
COMMAND = "fetch it again"
CONTENT = bytes(range(256)) * 4000


def _fetch(
    base: Path, hub: str | StandInHub, *sources: Source, token: str = "", report: Callable[[Step], None] | None = None
) -> list[Step]:
    steps: list[Step] = []
    fetch(
        base,
        sources or (BIG,),
        report or steps.append,
        what="the files",
        command=COMMAND,
        endpoint=hub if isinstance(hub, str) else hub.address,
        token=token,
        patience=QUICK,
    )
    return steps


def _notes(steps: list[Step]) -> list[str]:
    return [step.note for step in steps if step.note not in ("", "checking")]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.faults["owner/model/weights/big.bin"] = ["cut"] * 5  # more than the pauses: each brought something
    steps = _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT
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
        _fetch(tmp_path, hub, report=stop)
    assert not (tmp_path / "here/big.bin").exists()
    _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT
    assert hub.transfers[-1][1] > 0


def test_a_hub_without_ranges_begins_anew(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    (tmp_path / "here").mkdir(parents=True)
    (tmp_path / "here/.big.bin.part").write_bytes(b"x" * 1000)
    hub.ranges = False
    _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT


def test_a_wrong_hash_is_fetched_once_more_and_then_named(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.add("owner/model", "config.json", b'{"a": 1}')
    hub.faults["owner/model/weights/big.bin"] = ["flip"]
    _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT

    (tmp_path / "here/big.bin").unlink()
    hub.faults["owner/model/weights/big.bin"] = ["flip"] * 9
    hub.faults["owner/model/config.json"] = ["flip"] * 9
    with pytest.raises(FetchError) as error:
        _fetch(tmp_path, hub, BIG, SMALL)
    assert "here/big.bin (of owner/model): it came twice, and its sha256 hash is" in str(error.value)
    assert "here/config.json (of owner/model): it came twice, and its git hash is" in str(error.value)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_damaged_part_is_not_built_upon_for_ever(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    (tmp_path / "here").mkdir(parents=True)
    (tmp_path / "here/.big.bin.part").write_bytes(b"x" * 1000)
    _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT


def test_a_damaged_file_is_replaced(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    _fetch(tmp_path, hub)
    (tmp_path / "here/big.bin").write_bytes(CONTENT[:-1] + b"?")
    steps = _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT
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
    assert f"Not all of the files could be fetched from {hub.address}" in str(error.value)
    assert str(error.value).endswith(f"go on with: {COMMAND}")
    assert (tmp_path / "here/big.bin").is_file()


def test_an_overloaded_hub_is_asked_again(hub: StandInHub, tmp_path: Path) -> None:
    hub.add("owner/model", "weights/big.bin", CONTENT)
    hub.faults["owner/model/weights/big.bin"] = [503, 429]
    _fetch(tmp_path, hub)
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT


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

    _fetch(tmp_path, hub, report=again)
    assert "another process is fetching it" in failed[0]
    assert (tmp_path / "here/big.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="HF_ENDPOINT"):
        _fetch(tmp_path, endpoint)


def test_a_hub_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"here/big\.bin"):
        _fetch(tmp_path, "http://127.0.0.1:9")


def test_a_full_disk_is_told_before_the_transfer(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    hub.add("owner/model", "weights/big.bin", CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(FetchError, match="the disk has no room"):
        _fetch(tmp_path, hub)


def test_an_etag_is_a_hash_by_its_length_only() -> None:
    assert declared(f'"{"a" * 64}"') is not None
    assert declared(f'W/"{"b" * 40}"') is not None
    assert declared('"17f2a-1b"') is None
    assert declared("") is None
