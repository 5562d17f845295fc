"""The store shows, opens, counts and deletes avatars, and lets nothing outside its folder be touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from avatars import master
from avatars.avatar import planes
from avatars.errors import MESSAGES, AvatarError
from avatars.imports import import_path, take
from avatars.record import AvatarRecord, check_id
from avatars.store import AvatarStore, read_record, write_record
from tests.avatars.conftest import put


def code_of(call: object, *args: object, **more: object) -> str:
    with pytest.raises(AvatarError) as caught:
        call(*args, **more)  # type: ignore[operator]
    assert str(caught.value)
    assert caught.value.code in MESSAGES
    return caught.value.code


BAD_IDS = ["", ".", "..", "...", ".hidden", "a/b", "/etc/passwd", "../x", "a\\b", "a\0b", "a b", "ä", "a\n", "-x"]
BAD_IDS += ["a" * 65, "a" * 300]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_that_are_none_are_refused_everywhere(store: AvatarStore, bad: str) -> None:
    assert code_of(check_id, bad) == "invalid_id"
    for method in (store.get, store.open, store.lease, store.delete, store.folder, store.preview):
        assert code_of(method, bad) == "invalid_id"


@pytest.mark.parametrize("good", ["a", "A1", "ada.lovelace_2-x", "0", "a" * 64])
def test_ids(good: str) -> None:
    assert check_id(good) == good


def test_an_avatar_is_opened_once_for_all(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    first, second = store.open("ada"), store.lease("ada")
    assert second.avatar is first
    assert first.frames.shape == (26, 640 * 360 * 3 // 2)
    assert not first.frames.flags.writeable
    assert type(first.frames) is np.ndarray
    assert first.faces.landmarks.shape == (26, 468, 3)
    assert first.faces.landmarks.dtype == np.float32
    assert first.faces.mouth.dtype == np.int32
    second.release()


def test_frames_and_their_rows_are_read_as_they_are_mapped(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    avatar = store.open("ada")
    for frame in (0, 25):
        y, u, v = planes(avatar.frames[frame], 640, 360)
        read = [np.zeros_like(plane) for plane in (y, u, v)]
        padded = [np.zeros((len(plane), plane.shape[1] + 8), np.uint8)[:, :-8] for plane in (y, u, v)]
        for into in (read, padded):
            avatar.copy(frame, into)
            assert all(np.array_equal(*pair) for pair in zip(into, (y, u, v), strict=True))
        rows = avatar.rows(frame, 40, 46)
        assert all(np.array_equal(*pair) for pair in zip(rows, (y[40:46], u[20:23], v[20:23]), strict=True))


def test_a_cache_that_is_cut_short_while_in_use_is_an_error_and_no_crash(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    avatar = store.open("ada")
    os.truncate(avatar.path / master.CACHE, 20 * 640 * 360 * 3 // 2)
    into = [np.zeros((360, 640), np.uint8), *np.zeros((2, 180, 320), np.uint8)]
    with pytest.raises(OSError, match="shorter"):
        avatar.copy(25, into)
    with pytest.raises(OSError, match="shorter"):
        avatar.rows(25, 40, 46)
    avatar.copy(19, into)


def test_an_avatar_that_nobody_holds_leaves_no_file_open(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    before = len(os.listdir("/proc/self/fd"))
    store.open("ada")
    assert len(os.listdir("/proc/self/fd")) > before
    store.delete("ada")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_cache_is_the_decoded_master_and_is_made_again(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    cache = store.folder("ada") / master.CACHE
    before = cache.read_bytes()
    cache.unlink()
    avatar = store.open("ada")
    assert cache.read_bytes() == before
    for n, frame in enumerate(master.read(store.folder("ada") / master.MASTER)):
        assert np.array_equal(avatar.frames[n], frame.reshape(-1))


def test_a_short_cache_is_not_trusted(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    cache = store.folder("ada") / master.CACHE
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    assert store.open("ada").frames.tobytes() == whole


@pytest.mark.parametrize("broken", ["faces.npz", "frames.mp4"])
def test_damaged_files_are_said_to_be(store: AvatarStore, built: Path, broken: str) -> None:
    put(store, built, "ada")
    (store.folder("ada") / broken).write_bytes(b"nonsense")
    (store.folder("ada") / master.CACHE).unlink()
    assert code_of(store.open, "ada") == "damaged"
    assert store.leases("ada") == 0
    store.delete("ada")


def test_what_is_not_an_avatar_is_not_shown(store: AvatarStore, built: Path, tmp_path: Path) -> None:
    put(store, built, "ada")
    (store.root / "empty").mkdir()
    (store.root / "junk").mkdir()
    (store.root / "junk" / "avatar.json").write_text('{"id": "other", "state": "ready"}')
    os.symlink(built, store.root / "link")
    assert [r.id for r in store.list()] == ["ada"]
    for name in ("empty", "junk", "link", "nobody"):
        assert code_of(store.get, name) == "not_found"


def test_an_avatar_in_use_is_not_deleted(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    one, two = store.lease("ada"), store.lease("ada")
    assert code_of(store.delete, "ada") == "in_use"
    one.release()
    one.release()  # twice is once
    assert code_of(store.delete, "ada") == "in_use"
    two.release()
    store.delete("ada")
    assert not store.folder("ada").exists()


def test_an_avatar_in_use_by_another_process_is_not_deleted_until_that_ends(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    put(store, built, "bob")
    hold = "import sys, time; from pathlib import Path; from avatars.store import AvatarStore\n"
    hold += "lease = AvatarStore(Path(sys.argv[1]), cache_bytes=1 << 30).lease('ada'); print('held', flush=True)\n"
    hold += "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(store.root)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AvatarError, match="running Lectern") as caught:
            store.delete("ada")
        assert caught.value.code == "in_use"
        assert store.open("ada").frames[25].any()
        store.delete("bob")
        other.kill()
    store.delete("ada")
    assert not store.folder("ada").exists()


def test_an_avatar_may_be_shown_by_two_processes(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    beside = AvatarStore(store.root, cache_bytes=1 << 30)  # locks go by open file: as good as another process
    one, two = store.lease("ada"), beside.lease("ada")
    one.release()
    assert code_of(store.delete, "ada") == "in_use"
    two.release()
    store.delete("ada")
    assert code_of(beside.lease, "ada") == "not_found"


def test_a_cache_in_use_by_another_process_stays(tmp_path: Path, built: Path) -> None:
    store = AvatarStore(tmp_path / "avatars", cache_bytes=1)
    put(store, built, "ada")
    with AvatarStore(store.root, cache_bytes=1 << 30).lease("ada"):
        store.trim()
        assert (store.folder("ada") / master.CACHE).exists()
    store.trim()
    assert not (store.folder("ada") / master.CACHE).exists()


def test_deleting_needs_no_room_on_the_disk(store: AvatarStore, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, built, "ada")

    def full(path: object, flags: int, mode: int = 0o777) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("avatars.in_use.os.open", full)
        store.delete("ada")
    assert not store.folder("ada").exists()


def test_a_second_delete_finds_nothing(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    store.delete("ada")
    assert code_of(store.delete, "ada") == "not_found"
    assert code_of(store.open, "ada") == "not_found"
    assert store.list() == []


def test_frames_of_a_deleted_avatar_stay_readable_for_who_holds_them(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    avatar = store.open("ada")
    store.delete("ada")
    assert avatar.frames[25].any()


def test_the_least_recently_used_lose_their_cache(tmp_path: Path, built: Path) -> None:
    size = 26 * 640 * 360 * 3 // 2
    store = AvatarStore(tmp_path / "avatars", cache_bytes=2 * size)
    for name in ("one", "two", "three"):
        put(store, built, name)
        (store.folder(name) / master.CACHE).unlink()
    cached = lambda: {n for n in ("one", "two", "three") if (store.folder(n) / master.CACHE).exists()}  # noqa: E731
    held = store.lease("one")
    store.open("two")
    store.open("three")
    assert cached() == {"one", "three"}  # "one" is the oldest, but in use
    held.release()
    store.open("two")
    assert cached() == {"two", "three"}
    assert store.open("one").frames[3].any()


def test_leftovers_are_removed_at_the_start(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    (store.uploads / "half").write_bytes(b"x")
    (store.root / ".trash" / "old").mkdir()
    (store.folder("ada") / "frames.i420.77.part").write_bytes(b"x")
    store.clean()
    assert list(store.uploads.iterdir()) == []
    assert list((store.root / ".trash").iterdir()) == []
    assert not list(store.folder("ada").glob("*.part"))
    assert store.open("ada")


# -- files from outside


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "deep").mkdir(parents=True)
    (tmp_path / "inbox" / "clip.mp4").write_bytes(b"video")
    (tmp_path / "inbox-not").mkdir()
    (tmp_path / "inbox-not" / "clip.mp4").write_bytes(b"video")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    os.symlink(tmp_path / "secret.mp4", tmp_path / "inbox" / "out.mp4")
    os.symlink(tmp_path, tmp_path / "inbox" / "up")
    os.symlink("clip.mp4", tmp_path / "inbox" / "in.mp4")
    os.symlink("loop", tmp_path / "inbox" / "loop")
    os.mkfifo(tmp_path / "inbox" / "pipe")
    return tmp_path / "inbox"


@pytest.mark.parametrize("name", ["clip.mp4", "deep/../clip.mp4", "in.mp4"])
def test_files_inside_the_import_folders_are_taken(inbox: Path, name: str) -> None:
    assert import_path(inbox / name, [inbox]) == inbox / "clip.mp4"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mp4",
        "../inbox-not/clip.mp4",
        "out.mp4",
        "up/secret.mp4",
        "/etc/passwd",
        "loop",
        "a\0b",
        "../nothing",
    ],
)
def test_paths_that_lead_out_are_refused(inbox: Path, name: str) -> None:
    assert code_of(import_path, f"{inbox}/{name}" if not name.startswith("/") else name, [inbox]) == "forbidden_path"


def test_nothing_is_allowed_when_no_folder_is(inbox: Path) -> None:
    assert code_of(import_path, inbox / "clip.mp4", []) == "forbidden_path"


@pytest.mark.parametrize("name", ["nothing.mp4", "deep", "pipe", "x" * 300])
def test_only_files_are_taken(inbox: Path, name: str) -> None:
    assert code_of(import_path, inbox / name, [inbox]) == "no_such_file"


def test_a_file_that_became_a_link_after_the_check_is_not_followed(inbox: Path, tmp_path: Path) -> None:
    checked = import_path(inbox / "clip.mp4", [inbox])
    checked.unlink()
    os.symlink(tmp_path / "secret.mp4", checked)
    assert code_of(take, checked, tmp_path / "taken", move=False, max_bytes=100) == "no_such_file"
    assert not (tmp_path / "taken").exists()


def test_a_file_that_is_too_large_is_not_taken(inbox: Path, tmp_path: Path) -> None:
    assert code_of(take, inbox / "clip.mp4", tmp_path / "taken", move=False, max_bytes=4) == "too_large"
    assert (inbox / "clip.mp4").exists()


def test_a_full_disk_while_copying_leaves_nothing(inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object, length: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("avatars.imports.shutil.copyfileobj", full)
    assert code_of(take, inbox / "clip.mp4", tmp_path / "taken", move=False, max_bytes=100) == "disk_full"
    assert not (tmp_path / "taken").exists()


def test_an_avatar_that_was_made_anew_elsewhere_is_opened_anew(store: AvatarStore, built: Path) -> None:
    put(store, built, "ada")
    old = store.open("ada")
    elsewhere = AvatarStore(store.root, cache_bytes=1 << 30)
    elsewhere.delete("ada")
    put(store, built, "ada")
    again = read_record(store.folder("ada"))
    assert again is not None
    write_record(store.folder("ada"), again.model_copy(update={"created_at": datetime.now(UTC)}))
    assert store.open("ada") is not old


def test_an_avatar_deleted_while_it_is_opened_is_not_found(
    store: AvatarStore, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, built, "ada")

    def vanish(folder: Path, record: object) -> None:
        shutil.rmtree(folder)
        raise AvatarError("damaged")

    monkeypatch.setattr("avatars.store.open_folder", vanish)
    assert code_of(store.open, "ada") == "not_found"
    assert store.leases("ada") == 0


def test_an_avatar_that_is_published_between_two_looks_is_found(
    store: AvatarStore, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, built, "ada")
    building = store.building / "ada"
    os.rename(store.folder("ada"), building)
    looked: list[Path] = []

    def read(folder: Path) -> AvatarRecord | None:
        found = read_record(folder)
        looked.append(folder)
        if len(looked) == 1:
            os.rename(building, store.folder("ada"))
        return found

    monkeypatch.setattr("avatars.store.read_record", read)
    assert store.get("ada").state == "ready"
    assert looked[0] == store.folder("ada")


def test_folders_that_it_makes_are_its_users_own(tmp_path: Path) -> None:
    """data/ as well, which is made with the avatars' folder; one that is there stays as it is."""
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o750)
    before = os.umask(0o022)
    try:
        AvatarStore(there / "data" / "avatars", cache_bytes=10**9)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (there, there / "data", there / "data" / "avatars")]
    assert modes == [0o750, 0o700, 0o700]
