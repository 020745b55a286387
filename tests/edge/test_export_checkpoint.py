"""What an export's checkpoint remembers: elements known again, paths taken once, members, books, and never a URL."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rfbulk.core.exporting import Element, ElementState, FailReason, Listed, Part, Presence
from rfbulk.core.fetching import Check, FetchKind, FetchOutcome, FetchResult, Fingerprint, Unpacked
from rfbulk.core.landing import clash_key
from rfbulk.edge import export_books as books
from rfbulk.edge import export_listing as listing
from rfbulk.edge import export_schema as schema
from rfbulk.edge.checkpoint_file import connect
from rfbulk.edge.export_checkpoint import (
    ExportCheckpoint,
    ExportIdentity,
    export_summaries,
    open_export_checkpoint,
    staging_of,
)
from rfbulk.edge.export_paths import PathBook
from rfbulk.errors import CheckpointBusy, CheckpointDamaged
from tests.support.world import MEMORY

IDENTITY = ExportIdentity("https://api.test", "workspace", "spring", "/target")
WHOLE = Part(0, "", "")


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(folder / "x.sqlite", schema.SHAPE, IDENTITY.facts)) as db:
        yield db


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        yield Path(text)


@pytest.fixture
def db(state: Path) -> Iterator[sqlite3.Connection]:
    with database(state) as connection:
        yield connection


@pytest.fixture
def paths() -> PathBook:
    return PathBook()


def plain(*names: str, shard: str = "") -> list[Listed]:
    return [Listed(shard, name, FetchKind.PLAIN) for name in names]


def take(
    db: sqlite3.Connection, paths: PathBook, listed: list[Listed], run: int = 1, part: Part = WHOLE
) -> list[Element]:
    return listing.take_page(db, paths, part, listed, run, is_new=run == 1)[0]


def fetched(db: sqlite3.Connection, element: Element, run: int = 1) -> None:
    sql = "UPDATE elements SET state = ?, size = 5, mtime_ns = 1, inode = 2, run = ? WHERE id = ?"
    db.execute(sql, (ElementState.FETCHED, run, element.id))


# paths


def test_each_gets_its_own_path_and_what_would_meet_is_kept_apart(db: sqlite3.Connection, paths: PathBook) -> None:
    elements = take(db, paths, plain("a.jpg", "A.JPG", "b.jpg", "a.jpg", "b~2.jpg", "B.jpg"))
    assert [element.path for element in elements] == [
        "a.jpg",
        "A~2.JPG",
        "b.jpg",
        "a~3.jpg",
        "b~2.jpg",
        "B~3.jpg",
    ]


def test_a_file_never_takes_the_place_of_a_folder(db: sqlite3.Connection, paths: PathBook) -> None:
    elements = take(db, paths, plain("sub/a.jpg", "sub", "SUB/b.jpg", "c", "c/d", "c/e/f"))
    assert [element.path for element in elements] == ["sub/a.jpg", "sub~2", "SUB/b.jpg", "c", "c~2/d", "c~2/e/f"]


def test_a_reserved_path_is_nobodys(db: sqlite3.Connection, paths: PathBook) -> None:
    paths.reserve(db, ["spring.manifest.jsonl"])
    assert take(db, paths, plain("spring.manifest.jsonl"))[0].path == "spring.manifest~2.jsonl"


def test_thousands_of_equal_names_each_find_a_place_at_once(db: sqlite3.Connection, paths: PathBook) -> None:
    db.execute("BEGIN")
    elements = take(db, paths, plain(*["a.jpg"] * 3000))
    db.execute("COMMIT")
    assert len({element.path for element in elements}) == 3000
    assert [element.ordinal for element in elements] == list(range(3000))


NAMES = st.lists(
    st.sampled_from(["a", "A", "a~2", "b/a", "b", "B/a", "b/a/c", "a.jpg", "a~2.jpg", "A.jpg", "é", "e\u0301"]),
    max_size=30,
)


@given(names=NAMES, cut=st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_no_two_paths_ever_meet_and_any_split_into_pages_gives_the_same(names: list[str], cut: int) -> None:
    found = []
    for pages in ([names], [names[:cut], names[cut:]]):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            db.executescript(schema.TABLES)
            book = PathBook()
            elements = [one for page in pages for one in take(db, book, plain(*page))]
            found.append([(one.path, one.ordinal) for one in elements])
    assert found[0] == found[1]
    keys = [clash_key(path) for path, _ in found[0]]
    assert len(set(keys)) == len(keys)
    folders = {key[:place] for key in keys for place, letter in enumerate(key) if letter == "/"}
    assert folders.isdisjoint(keys)


# listings


def test_what_is_listed_again_is_known_again_in_any_order(db: sqlite3.Connection, paths: PathBook) -> None:
    first = take(db, paths, [*plain("a.jpg", shard="s1"), *plain("a.jpg", "b.jpg", shard="s2")])
    again = take(db, paths, [*plain("b.jpg", "a.jpg", shard="s2"), *plain("a.jpg", shard="s1")], run=2)
    assert sorted(element.id for element in again) == [element.id for element in first]
    assert [element.path for element in again] == ["b.jpg", "a~2.jpg", "a.jpg"]


def test_equal_ones_are_told_apart_by_their_place(db: sqlite3.Connection, paths: PathBook) -> None:
    first = take(db, paths, plain("a.jpg", "a.jpg"))
    again = listing.take_page(db, paths, WHOLE, plain("a.jpg", "a.jpg", "a.jpg"), 2, is_new=False)
    assert [element.id for element in again[0][:2]] == [element.id for element in first]
    assert (again[0][2].ordinal, again[1]) == (2, 1)


def test_parts_do_not_know_of_each_other(db: sqlite3.Connection, paths: PathBook) -> None:
    one, two = Part(1, "one", "one"), Part(2, "two", "two")
    assert take(db, paths, plain("a.jpg"), part=one)[0].path == "one/a.jpg"
    assert take(db, paths, plain("a.jpg"), part=two)[0].path == "two/a.jpg"


@pytest.mark.parametrize("name", ["../evil", "/abs", "a\nb", "..", "C:\\x"])
def test_a_name_that_makes_no_path_has_failed_on_every_run(db: sqlite3.Connection, paths: PathBook, name: str) -> None:
    for run in (1, 2):
        (element,) = take(db, paths, plain(name), run=run)
        assert (element.state, element.path) == (ElementState.FAILED, "")
    assert books.failures(db, "0", 10)[0].reason is FailReason.NAME


def test_what_is_not_listed_any_more_has_failed_unless_it_is_here(db: sqlite3.Connection, paths: PathBook) -> None:
    here, left = take(db, paths, plain("here.jpg", "left.jpg"))
    fetched(db, here)
    assert listing.end_part(db, 0, 2) == 1
    assert [failure.name for failure in books.failures(db, "0", 10)] == [left.name]


# archives


def archive(db: sqlite3.Connection, paths: PathBook, *names: str) -> tuple[Element, list[str]]:
    (element,) = take(db, paths, [Listed("", "sub/x.tar", FetchKind.TAR)])
    return element, plan(db, paths, element, *names)


def plan(db: sqlite3.Connection, paths: PathBook, element: Element, *names: str) -> list[str]:
    members = tuple(Unpacked(name, f"staged/{number}", 3, 7) for number, name in enumerate(names))
    result = FetchResult(
        FetchOutcome.FETCHED, size=100, crc32c=1, check=Check.ARCHIVE, members=members, refused=(("../x", "no"),)
    )
    return [member.path for member in listing.plan_members(db, paths, element, result)]


def test_members_land_beside_their_archive_and_keep_their_places_when_it_comes_again(
    db: sqlite3.Connection, paths: PathBook
) -> None:
    element, first = archive(db, paths, "a.jpg", "A.jpg", "a.jpg", "d/b.jpg")
    assert first == ["sub/a.jpg", "sub/A~2.jpg", "sub/a~3.jpg", "sub/d/b.jpg"]
    again = plan(db, paths, element, "new.jpg", "a.jpg", "a.jpg", "A.jpg")
    assert again == ["sub/new.jpg", "sub/a.jpg", "sub/a~3.jpg", "sub/A~2.jpg"]
    assert [member.path for member in listing.members_of(db, element.id)] == again
    assert db.execute("SELECT count(*) FROM refused").fetchone()[0] == 1


def test_books_count_members_of_archives_one_by_one(db: sqlite3.Connection, paths: PathBook) -> None:
    element, _ = archive(db, paths, "a.jpg", "a.jpg")
    fetched(db, element)
    (file,) = take(db, paths, plain("b.jpg"))
    fetched(db, file)
    totals = books.totals(db, "0", 1)
    assert (totals.files, totals.bytes, totals.kept_apart, totals.refused_members) == (3, 11, 1, 1)
    assert [one.path for one in books.kept_apart(db, "0", 10)] == ["sub/a~2.jpg"]
    assert [one.member for one in books.refused_members(db, "0", 10)] == ["../x"]


# the checkpoint as a whole


@pytest.fixture
def folder(state: Path) -> Path:
    return state / "exports"


@contextmanager
def opened(folder: Path, *, restart: bool = False) -> Iterator[ExportCheckpoint]:
    with open_export_checkpoint(folder, IDENTITY, restart=restart) as checkpoint:
        yield checkpoint


def result(size: int = 5, inode: int = 2) -> FetchResult:
    mark = Fingerprint(size, 10, inode)
    return FetchResult(FetchOutcome.FETCHED, size, size=size, crc32c=7, check=Check.CRC32C, fingerprint=mark)


def run(checkpoint: ExportCheckpoint, name: str, *arguments: Any, **options: Any) -> Any:
    """Call a coroutine of the checkpoint from a test without a loop."""
    coroutine = getattr(checkpoint, name)(*arguments, **options)
    return asyncio.run(coroutine)


def test_what_was_recorded_survives_and_is_known_by_the_next_process(folder: Path) -> None:
    inode = (1 << 64) - 3
    with opened(folder) as checkpoint:
        assert run(checkpoint, "begin_run") == 1
        run(checkpoint, "begin_parts", [WHOLE], overwrite=False)
        elements, new = run(checkpoint, "take_page", WHOLE, plain("a.jpg", "b.jpg"))
        assert new == 2
        run(checkpoint, "record_fetched", [(elements[0], result(inode=inode))])
        run(checkpoint, "record_failed", [(elements[1], FailReason.GONE, "404")])
    with opened(folder) as checkpoint:
        assert run(checkpoint, "begin_run") == 2
        assert run(checkpoint, "begin_parts", [WHOLE], overwrite=False) == 2
        (a, b), new = run(checkpoint, "take_page", WHOLE, plain("a.jpg", "b.jpg"))
        assert (a.state, b.state, new) == (ElementState.FETCHED, ElementState.LISTED, 0)
        assert a.fingerprint == Fingerprint(5, 10, inode)
        run(checkpoint, "restore", [(a, Presence.CHANGED)])
        assert run(checkpoint, "restored", [WHOLE], 10) == ["a.jpg"]
        run(checkpoint, "record_fetched", [(replace(a, restored=True), result())])
        totals = run(checkpoint, "totals", [WHOLE])
        assert (totals.restored, totals.changed_here, totals.here) == (1, 1, 0)


def test_overwrite_has_everything_of_these_parts_fetched_again(folder: Path) -> None:
    with opened(folder) as checkpoint:
        run(checkpoint, "begin_run")
        one, two = run(checkpoint, "parts", ["one", "two"])
        for part in (one, two):
            (element,), _ = run(checkpoint, "take_page", part, plain("a.jpg"))
            run(checkpoint, "record_fetched", [(element, result())])
        run(checkpoint, "begin_run")
        run(checkpoint, "begin_parts", [one], overwrite=True)
        run(checkpoint, "begin_parts", [two], overwrite=False)
        states = {}
        for part in (one, two):
            (element,), _ = run(checkpoint, "take_page", part, plain("a.jpg"))
            states[part.name] = element.state
        assert states == {"one": ElementState.LISTED, "two": ElementState.FETCHED}


def test_parts_keep_their_folders(folder: Path) -> None:
    with opened(folder) as checkpoint:
        parts = run(checkpoint, "parts", ["a/b", "A_b", "..", "."])
        assert [part.folder for part in parts] == ["a_b", "A_b~2", "part", "part~2"]
    with opened(folder) as checkpoint:
        assert run(checkpoint, "parts", ["a/b", "A_b", "..", "."]) == parts
        assert run(checkpoint, "parts", []) == [WHOLE]


def test_a_second_process_leaves_at_once(folder: Path) -> None:
    with opened(folder), pytest.raises(CheckpointBusy), opened(folder):
        pass  # pragma: no cover


def test_restart_forgets_everything(folder: Path) -> None:
    with opened(folder) as checkpoint:
        run(checkpoint, "begin_run")
        run(checkpoint, "record_fact", "unpack", "--unpack")
    with opened(folder, restart=True) as checkpoint:
        assert run(checkpoint, "fact", "unpack") is None
        assert run(checkpoint, "begin_run") == 1


def test_exports_of_another_folder_or_service_have_checkpoints_of_their_own() -> None:
    others = [
        ExportIdentity("https://other", "workspace", "spring", "/target"),
        ExportIdentity("https://api.test", "other", "spring", "/target"),
        ExportIdentity("https://api.test", "workspace", "spring", "/other"),
    ]
    identities = {one.id for one in [IDENTITY, *others]}
    assert len(identities) == 4
    assert all(one.startswith("spring-") for one in identities)
    assert len({one.staging for one in [IDENTITY, *others]}) == 4
    assert staging_of("/target", IDENTITY.id) == IDENTITY.staging


def test_summaries_tell_of_each_and_of_what_is_damaged(folder: Path) -> None:
    with opened(folder) as checkpoint:
        run(checkpoint, "begin_run")
        (a, b), _ = run(checkpoint, "take_page", WHOLE, plain("a.jpg", "b.jpg"))
        run(checkpoint, "record_fetched", [(a, result())])
        run(checkpoint, "record_failed", [(b, FailReason.GONE, "")])
        run(checkpoint, "record_fact", "listing_finished", "yes")
    (folder / "broken-1.sqlite").write_bytes(b"no database at all" * 100)
    by_id = {summary["id"]: summary for summary in export_summaries(folder)}
    good = by_id[IDENTITY.id]
    assert (good["kind"], good["batch"], good["target"]) == ("export", "spring", "/target")
    assert (good["files_here"], good["bytes_here"], good["left"], good["failures"]) == (1, 5, 0, 1)
    assert "damaged" in by_id["broken-1"]["error"]


def test_a_checkpoint_of_an_upload_is_refused(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / f"{IDENTITY.id}.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 77")
        connection.execute("CREATE TABLE x (y)")
    with pytest.raises(CheckpointDamaged, match="version 77"), opened(folder):
        pass  # pragma: no cover


def test_no_column_could_hold_a_url(db: sqlite3.Connection) -> None:
    columns = {
        row[1]
        for table in ("elements", "members", "parts", "refused", "taken", "facts")
        for row in db.execute(f"PRAGMA table_info({table})")
    }
    assert not {column for column in columns if "url" in column.lower() or "token" in column.lower()}
