"""What is written down of sessions, and that writing never holds one up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from sqlalchemy import text

from pipeline.events import Event, SpeechEnded, SpeechStarted, Transcription
from pipeline.stats import SessionStats
from server.records import journal as journal_module
from server.records import sessions as sessions_module
from server.records.address import parse
from server.records.database import Database
from server.records.entries import Entry, Said, add_figures
from server.records.errors import RecordsUnavailable
from server.records.journal import Journal
from server.records.keeper import Keeper
from server.records.sessions import Past, SessionRecords, Turn, Wanted
from server.session import Session, Typed
from tests.rtc.clients import until


def session(session_id: str = "a", student: str = "s1", tutor: str | None = "t1") -> Session:
    return Session(
        id=session_id,
        token="",
        avatar_id="ada",
        voice=None,
        student_id=student,
        tutor_id=tutor,
        kb_id=None,
        created_at=datetime.now(UTC).timestamp(),
    )


def stats(**values: Any) -> SessionStats:
    kinds = get_type_hints(SessionStats)
    nothing = {each.name: None if kinds[each.name] == float | None else 0 for each in fields(SessionStats)}
    return SessionStats(**{**nothing, "status": "idle", **values})


class Broken(SessionRecords):
    """A database that is away as long as a test says so, and takes no text that holds "poison"."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "here:1")
        self.away = False
        self.calls = 0

    async def write(self, entries: Sequence[Entry]) -> None:
        self.calls += 1
        if self.away:
            raise RecordsUnavailable("it is away")
        if any(isinstance(entry, Said) and "poison" in entry.text for entry in entries):
            async with self._database.writing() as connection:
                await connection.execute(text("INSERT INTO lectern_version VALUES (NULL)"))
        await super().write(entries)


@pytest.fixture
def records(database: Database) -> Broken:
    return Broken(database)


@pytest.fixture
async def journal(records: Broken) -> AsyncIterator[Journal]:
    made = Journal(records, keep_words=True)
    await made.start()
    yield made
    records.away = False
    await made.close()


async def written(records: SessionRecords, journal: Journal) -> tuple[list[Past], list[Turn]]:
    async with asyncio.timeout(20):
        await journal.flush()
    _, sessions = await records.page(Wanted(), limit=200, offset=0)
    _, turns = await records.turns(Wanted(), limit=200, offset=0)
    return sessions, turns


def tell(one: Session, *events: Event) -> None:
    for event in events:
        one.note(event) if isinstance(event, Typed) else one.emit(event)


async def test_a_session_from_its_beginning_to_its_end(records: Broken, journal: Journal) -> None:
    one = session()
    journal.created(one)
    tell(
        one,
        Typed("Why is the sky blue?"),
        SpeechStarted("u1", 0),
        Transcription("s1", "But", final=False),
        Transcription("s1", "But why?", final=True),
        SpeechEnded("u1", 0, "interrupted", 1.0, "Because air"),
        Transcription("s2", "", final=True),
        SpeechEnded("u2", 1, "interrupted", 0.0, ""),
        SpeechStarted("u3", 1),
        SpeechEnded("u3", 1, "finished", 2.0, "It scatters blue light."),
    )
    sessions, turns = await written(records, journal)
    assert [(each.status_, each.turns) for each in map(_Shown, sessions)] == [("running", 4)]
    assert [(turn.who, turn.text, turn.interrupted) for turn in turns] == [
        ("student", "Why is the sky blue?", False),
        ("tutor", "Because air", True),
        ("student", "But why?", False),
        ("tutor", "It scatters blue light.", False),
    ]
    assert {turn.tutor_id for turn in turns} == {"t1"}

    journal.gone(one, "left", stats(pictures=10, mouths=4, seconds=1.5, draw_ms=1.0))
    one.ended = True
    journal.gone(one, "deleted", stats(pictures=5, seconds=1.0))
    tell(one, SpeechEnded("u4", 1, "interrupted", 2.0, "Its last words"))  # told while it is closed
    (past,), turns = await written(records, journal)
    assert (past.student_id, past.tutor_id, past.avatar_id, past.end_reason) == ("s1", "t1", "ada", "deleted")
    assert past.ended_at is not None
    assert past.seconds == pytest.approx((past.ended_at - past.started_at).total_seconds(), abs=0.001)
    assert past.quality is not None
    assert {name: past.quality[name] for name in ("pictures", "mouths", "seconds", "draw_ms", "mouth_ms")} == {
        "pictures": 15,
        "mouths": 4,
        "seconds": 2.5,
        "draw_ms": 1.0,
        "mouth_ms": None,
    }
    assert turns[-1].text == "Its last words"
    assert (journal.waiting, journal.lost, journal.running) == (0, 0, [])


class _Shown:
    def __init__(self, past: Past) -> None:
        self.status_ = "running" if past.ended_at is None else "ended"
        self.turns = past.turns


async def test_words_that_a_database_would_not_take_are_made_fit(records: Broken, journal: Journal) -> None:
    one = session(student="s\0\ud800")
    journal.created(one)
    tell(one, Typed("a\0b \ud83d é 你好"))
    (past,), (turn,) = await written(records, journal)
    assert (past.student_id, turn.text) == ("s?", "ab ? é 你好")


async def test_a_database_that_is_away_loses_nothing_at_first(
    records: Broken, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", (0.01,))
    records.away = True
    one = session()
    journal.created(one)
    tell(one, Typed("one"))
    await until(lambda: records.calls >= 3)
    tell(one, Typed("two"))
    assert journal.waiting == 3
    records.away = False
    _, turns = await written(records, journal)
    assert [turn.text for turn in turns] == ["one", "two"]
    assert journal.lost == 0


async def test_what_is_too_much_is_counted_and_the_session_goes_on(
    records: Broken, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(journal_module, "MOST_WAITING", 50)
    records.away = True
    one = session()
    journal.created(one)
    for number in range(200):
        tell(one, Typed(f"word {number}"))
    one.ended = True
    journal.gone(one, "deleted", None)  # an end has its place, whatever is lost
    assert journal.lost == 200 - 49
    records.away = False
    (past,), turns = await written(records, journal)
    assert past.end_reason == "deleted"
    assert [turn.text for turn in turns] == [f"word {number}" for number in range(49)]


async def test_what_the_database_refuses_is_given_up_alone(records: Broken, journal: Journal) -> None:
    one = session()
    journal.created(one)
    tell(one, Typed("before"), Typed("poison"), Typed("after"))
    _, turns = await written(records, journal)
    assert [turn.text for turn in turns] == ["before", "after"]
    assert journal.lost == 1


async def test_it_closes_in_time_when_the_database_does_not_come_back(
    records: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CLOSE_SECONDS", 0.2)
    records.away = True
    journal = Journal(records, keep_words=True)
    await journal.start()
    journal.created(session())
    async with asyncio.timeout(10):
        await journal.close()
    assert journal.waiting == 1


async def test_closing_writes_what_waits(records: Broken) -> None:
    journal = Journal(records, keep_words=True)
    await journal.start()
    one = session()
    journal.created(one)
    tell(one, Typed("at the last moment"))
    await journal.close()
    assert (await records.turns(Wanted(), limit=1, offset=0))[0] == 1


async def test_without_retention_no_word_is_written(records: Broken) -> None:
    journal = Journal(records, keep_words=False)
    await journal.start()
    one = session()
    journal.created(one)
    tell(one, Typed("hush"), SpeechEnded("u1", 0, "finished", 1.0, "hush"))
    one.ended = True
    journal.gone(one, "deleted", stats(pictures=3))
    (past,), turns = await written(records, journal)
    assert turns == []
    assert (past.end_reason, past.quality and past.quality["pictures"]) == ("deleted", 3)
    await journal.close()


def test_figures_that_are_not_there_yet() -> None:
    assert add_figures(None, stats(draw_ms=2.0, pictures=1))["draw_ms"] == 2.0
    assert add_figures({"draw_ms": 2.0, "pictures": 1}, stats(pictures=1))["pictures"] == 2


def test_a_records_utterances_are_all_that_began() -> None:
    first = add_figures(None, stats(utterances=1, utterances_begun=4))
    assert first["utterances"] == 4
    assert add_figures(first, stats(utterances=0, utterances_begun=2))["utterances"] == 6


# -- keeping ------------------------------------------------------------------------------------------------------


async def test_what_a_crash_left_open_is_ended_at_the_next_start(records: Broken, journal: Journal) -> None:
    one, other = session("mine"), session("theirs")
    journal.created(one)
    journal.created(other)
    tell(one, Typed("said before the crash"))
    await written(records, journal)
    async with records._database.writing() as connection:
        await connection.execute(text("UPDATE lectern_sessions SET server = 'there:1' WHERE id = 'theirs'"))

    keeper = Keeper(SessionRecords(records._database, "here:1"), Journal(records, keep_words=True), 30)
    await keeper.start()
    await keeper.close()
    sessions, turns = await written(records, journal)
    found = {past.id: past for past in sessions}
    assert (found["mine"].end_reason, found["theirs"].end_reason) == ("server_stopped", None)
    assert found["mine"].ended_at == turns[0].at
    assert found["mine"].seconds == pytest.approx((turns[0].at - found["mine"].started_at).total_seconds(), abs=0.001)


async def test_sessions_of_another_server_are_ended_once_it_is_silent(records: Broken, journal: Journal) -> None:
    journal.created(session("fresh"))
    journal.created(session("stale"))
    await written(records, journal)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    async with records._database.writing() as connection:
        await connection.execute(text("UPDATE lectern_sessions SET server = 'there:1'"))
    await records.seen(["stale"], long_ago)
    keeper = Keeper(records, journal, 30)
    assert set(journal.running) == {"fresh", "stale"}
    await records.close_stopped(unseen_since=datetime.now(UTC) - timedelta(minutes=5))
    ended = {past.id: past.ended_at for past in (await written(records, journal))[0]}
    assert (ended["fresh"], ended["stale"]) == (None, long_ago)
    await keeper.beat()
    now = datetime.now(UTC)
    assert await records.close_stopped(unseen_since=now - timedelta(seconds=30)) == 0


@pytest.mark.parametrize(("days", "kept"), [(30, ["new"]), (90, ["old", "new"]), (0, [])])
async def test_transcripts_are_kept_for_so_many_days(
    records: Broken, journal: Journal, days: int, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.records.sessions._CHUNK", 2)
    one = session()
    journal.created(one)
    tell(one, *(Typed("old") for _ in range(5)))
    await written(records, journal)
    past = datetime.now(UTC) - timedelta(days=60)
    async with records._database.writing() as connection:
        await connection.execute(text("UPDATE lectern_turns SET at = :at"), {"at": _stored(records, past)})
    tell(one, Typed("new"))
    await written(records, journal)
    gone = await Keeper(records, journal, days).purge()
    sessions, turns = await written(records, journal)
    assert gone == 6 - len(turns)
    assert sorted({turn.text for turn in turns}) == sorted(set(kept))
    assert len(sessions) == 1


def _stored(records: Broken, moment: datetime) -> Any:
    sqlite = records._database.address.kind == "sqlite"
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f") if sqlite else moment


class OnDisk:
    """Records in an SQLite file, with a word of student s1 in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(parse("", folder / "lectern.db"))
        self.records = SessionRecords(self.database, "here:1")
        self.journal = Journal(self.records, keep_words=True)

    async def say(self, *texts: str) -> None:
        await self.database.open()
        await self.journal.start()
        one = session(student="s1")
        self.journal.created(one)
        tell(one, *(Typed(text) for text in texts))
        await written(self.records, self.journal)

    def holds(self, word: bytes) -> bool:
        return any(word in file.read_bytes() for file in self.folder.iterdir())

    async def close(self) -> None:
        await self.journal.close()
        await self.database.close()


async def test_a_deleted_word_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    await disk.say(*(f"my secret number is 4711-{number}" for number in range(50)))
    assert disk.holds(b"4711")
    gone = await disk.records.forget("s1")
    assert (gone.turns, gone.sessions) == (50, 1)
    assert not disk.holds(b"4711")
    await disk.close()


async def test_a_word_that_a_reader_kept_in_the_log_is_wiped_later(tmp_path: Path) -> None:
    """Such as a backup that runs while a student is deleted."""
    disk = OnDisk(tmp_path)
    await disk.say("my secret number is 4711")
    reader = sqlite3.connect(tmp_path / "lectern.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM lectern_turns").fetchone()
    keeper = Keeper(disk.records, disk.journal, 30)
    assert (await disk.records.forget("s1")).turns == 1
    await keeper.beat()
    assert disk.holds(b"4711")
    reader.execute("COMMIT")
    reader.close()
    await keeper.beat()
    assert not disk.holds(b"4711")
    assert not disk.records.unwiped
    await disk.close()


async def test_who_forgets_and_who_writes_wait_for_each_other(records: Broken, journal: Journal) -> None:
    """Else a word that is just being written would stay of somebody who is just being forgotten."""
    one = session(student="s1")
    journal.created(one)
    await written(records, journal)
    inserted, go_on = asyncio.Event(), asyncio.Event()
    nameless = sessions_module._nameless

    async def slow(connection: Any, session_ids: Any) -> set[str]:
        found = await nameless(connection, session_ids)
        inserted.set()
        await go_on.wait()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions_module, "_nameless", slow)
        tell(one, Typed("a secret"))
        await inserted.wait()
        forgetting = asyncio.create_task(records.forget("s1"))
        done, _ = await asyncio.wait({forgetting}, timeout=0.3)
        go_on.set()
        assert not done
        await forgetting
    tell(one, Typed("another one"))
    _, turns = await written(records, journal)
    assert turns == []


async def test_the_keeper_ends_also_where_its_driver_loses_the_cancellation(
    records: SessionRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def wipe() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("as a driver whose connection broke off in the midst") from None

    records.unwiped = True
    monkeypatch.setattr(records, "wipe", wipe)
    keeper = Keeper(records, Journal(records, keep_words=True), 30)
    await keeper.start()
    async with asyncio.timeout(5):
        await began.wait()
        await keeper.close()
