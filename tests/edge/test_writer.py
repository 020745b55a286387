from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from rfbulk.edge.writer import SqliteWriter, translated
from rfbulk.errors import CheckpointBusy, CheckpointDamaged, NoRoom, RfbulkError

pytestmark = pytest.mark.anyio


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
    return connection


def note(text: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO notes VALUES (?)", (text,))
        return text

    return work


def notes_in(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[SqliteWriter]:
    opened = SqliteWriter(lambda: connect(path))
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture
def held(writer: SqliteWriter) -> Iterator[threading.Event]:
    """The writer in the middle of a commit, until this is set: what comes now goes together."""
    began, go_on = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        began.set()
        go_on.wait(10)

    writer._submit(wait, Future())
    began.wait(10)
    yield go_on
    go_on.set()


async def in_one_group(
    writer: SqliteWriter, held: threading.Event, works: list[Callable[[sqlite3.Connection], object]]
) -> list[object]:
    """Run all of them at once, and return what each came to."""
    results: list[object] = [None] * len(works)

    async def run(place: int) -> None:
        try:
            results[place] = await writer.run(works[place])
        except RfbulkError as error:
            results[place] = error

    async with anyio.create_task_group() as tasks:
        for place in range(len(works)):
            tasks.start_soon(run, place)
        await anyio.wait_all_tasks_blocked()
        held.set()
    return results


async def test_what_has_returned_is_in_the_file(writer: SqliteWriter, path: Path) -> None:
    assert await writer.run(note("a")) == "a"
    assert await anyio.to_thread.run_sync(notes_in, path) == ["a"]


async def test_each_caller_of_a_group_gets_its_own_result_in_order(
    writer: SqliteWriter, held: threading.Event, path: Path
) -> None:
    texts: list[object] = [f"{number}" for number in range(600)]
    assert texts == await in_one_group(writer, held, [note(str(text)) for text in texts])
    assert texts == await anyio.to_thread.run_sync(notes_in, path)


async def test_a_group_shares_one_commit(writer: SqliteWriter, held: threading.Event) -> None:
    """The fsync is what costs: many workers must not wait for one each."""
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    works: list[Callable[[sqlite3.Connection], object]] = [note(f"{number}") for number in range(100)]
    await in_one_group(writer, held, [lambda db: db.set_trace_callback(count), *works])
    assert commits == 1


async def test_a_full_disk_fails_the_whole_group_and_all_that_comes_later(
    writer: SqliteWriter, held: threading.Event, path: Path
) -> None:
    """Nobody may believe that something is durable while its transaction was rolled back."""

    def limit(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()

    results = await in_one_group(writer, held, [limit, note("a"), note("x" * 100_000), note("b")])
    assert [NoRoom] * 4 == [type(result) for result in results]
    with pytest.raises(NoRoom, match="make room, then run the same again"):
        await writer.run(note("c"))
    assert await anyio.to_thread.run_sync(notes_in, path) == []


async def test_work_that_fails_takes_nothing_of_its_group_with_it_into_the_file(
    writer: SqliteWriter, held: threading.Event, path: Path
) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ValueError("9 is not a valid ShardState")

    results = await in_one_group(writer, held, [note("a"), fail])
    assert [CheckpointDamaged] * 2 == [type(result) for result in results]
    assert await anyio.to_thread.run_sync(notes_in, path) == []


async def test_work_whose_caller_has_left_before_it_began_is_not_done(
    writer: SqliteWriter, held: threading.Event, path: Path
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run, note("cancelled"))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    held.set()
    await writer.run(note("kept"))
    assert await anyio.to_thread.run_sync(notes_in, path) == ["kept"]


async def test_a_caller_who_leaves_while_it_is_done_disturbs_nobody(writer: SqliteWriter, path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work(db: sqlite3.Connection) -> None:
        began.set()
        go_on.wait(10)
        note("done")(db)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run, work)
        await anyio.to_thread.run_sync(began.wait, 10)
        tasks.cancel_scope.cancel()
    go_on.set()
    await writer.run(note("next"))
    assert await anyio.to_thread.run_sync(notes_in, path) == ["done", "next"]


def test_a_thread_gets_its_result_too(writer: SqliteWriter) -> None:
    assert writer.run_blocking(note("a")) == "a"


def test_stopping_finishes_what_is_queued(path: Path) -> None:
    writer = SqliteWriter(lambda: connect(path))
    writer.start()
    for number in range(700):
        writer._submit(note(f"{number}"), Future())
    writer.stop()
    assert [f"{number}" for number in range(700)] == notes_in(path)


def test_what_comes_after_the_end_is_refused_at_once(path: Path) -> None:
    """A scan that was left behind on a hung disk would otherwise wait for ever, and the process with it."""
    writer = SqliteWriter(lambda: connect(path))
    writer.start()
    writer.stop()
    with pytest.raises(CheckpointDamaged, match="it is closed"):
        writer.run_blocking(note("late"))
    assert notes_in(path) == []


def test_closing_leaves_no_log_behind(path: Path) -> None:
    writer = SqliteWriter(lambda: connect(path))
    writer.start()
    writer.run_blocking(note("a"))
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    writer.stop()
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.DatabaseError("file is not a database"), CheckpointDamaged),
        (OSError(errno.ENOSPC, "No space left on device"), NoRoom),
        (PermissionError(errno.EACCES, "Permission denied"), CheckpointDamaged),
        (CheckpointBusy("lock"), CheckpointBusy),
    ],
)
def test_what_cannot_be_opened_is_told_to_the_caller(error: Exception, expected: type[RfbulkError]) -> None:
    def fail() -> sqlite3.Connection:
        raise error

    with pytest.raises(expected):
        SqliteWriter(fail).start()


@pytest.mark.parametrize(
    ("code", "kind", "cause"),
    [
        (sqlite3.SQLITE_FULL, NoRoom, "the disk is full"),
        (sqlite3.SQLITE_IOERR_FSYNC, CheckpointDamaged, "the disk failed"),
        (sqlite3.SQLITE_CORRUPT, CheckpointDamaged, "damaged"),
        (sqlite3.SQLITE_CORRUPT_INDEX, CheckpointDamaged, "damaged"),
        (sqlite3.SQLITE_NOTADB, CheckpointDamaged, "no checkpoint"),
        (sqlite3.SQLITE_READONLY, CheckpointDamaged, "OperationalError: some text"),
    ],
)
def test_what_the_disk_did_is_told_in_words(code: int, kind: type[RfbulkError], cause: str) -> None:
    error = sqlite3.OperationalError("some text")
    error.sqlite_errorcode = code
    found = translated(error)
    assert kind is type(found)
    assert cause in found.cause
