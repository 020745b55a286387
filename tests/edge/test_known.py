from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.transfer import ARRIVED, Shard, ShardState
from rfbulk.edge import checkpoint as checkpoint_module
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.known import KnownEntries, Sorted
from rfbulk.errors import CheckpointDamaged
from tests.support.planned import plan_now

Recorded = list[tuple[ShardState, list[Entry]]]

NUMBERS = st.integers(0, 12)
STATES = st.sampled_from([ShardState.PLANNED, ShardState.GRANTED, ShardState.SENT, ShardState.FAILED, ShardState.SPLIT])


def entry(number: int, version: int = 0, root: int = 0) -> Entry:
    """A file of the source; another version is another fingerprint. Inodes use all of their 64 bits."""
    return Entry(root, b"%d.jpg" % number, f"{root}-{number}.jpg", 10, 1000 + version, 2**64 - 1 - number)


ENTRIES = st.builds(entry, NUMBERS, st.integers(0, 2), st.integers(0, 1))
SCANS = st.lists(ENTRIES, max_size=40, unique_by=lambda entry: (entry.root, entry.path))


def recorded_in(db: sqlite3.Connection, shards: Recorded) -> None:
    for state, entries in shards:
        checkpoint_module._insert_planned(db, [(tuple(entries), 1)])
        db.execute("UPDATE shards SET state = ? WHERE id = last_insert_rowid()", (state,))


def in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(schema.TABLES)
    return connection


def in_groups(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def sorted_out(known: KnownEntries, scan: list[Entry], size: int) -> Sorted:
    result = Sorted([], [])
    for group in in_groups(scan, size):
        told_apart = known.sort_out(group)
        result.new += told_apart.new
        result.changed += told_apart.changed
    return result


def naively(shards: Recorded, scan: list[Entry]) -> Sorted:
    known: dict[tuple[int, bytes], list[tuple[ShardState, Entry]]] = {}
    for state, entries in shards:
        for one in entries:
            if state is not ShardState.SPLIT:
                known.setdefault((one.root, one.path), []).append((state, one))
    result = Sorted([], [])
    for one in scan:
        before = known.get((one.root, one.path))
        if before is None:
            result.new.append(one)
        elif any(state in ARRIVED for state, _ in before) and one.mtime_ns not in {old.mtime_ns for _, old in before}:
            result.changed.append(one)
    return result


@settings(max_examples=40)
@given(st.lists(st.tuples(STATES, st.lists(ENTRIES, max_size=8)), max_size=6), SCANS, st.integers(1, 9))
def test_any_scan_is_told_apart_from_anything_recorded(shards: Recorded, scan: list[Entry], size: int) -> None:
    with closing(in_memory()) as db:
        recorded_in(db, shards)
        known = KnownEntries(db)
        assert naively(shards, scan) == sorted_out(known, scan, size)
        known.close()


@st.composite
def rescans(draw: st.DrawFn) -> tuple[Recorded, list[Entry]]:
    """A source as it was recorded in shards, and as it is found later: mostly the same, in mostly the same order."""
    before = [entry(number) for number in range(draw(st.integers(0, 30)))]
    sizes = st.integers(1, 6)
    shards: Recorded = []
    rest = before
    while rest:
        size = draw(sizes)
        shards.append((draw(STATES), rest[:size]))
        rest = rest[size:]
    after = [one for one in before if draw(st.integers(0, 9))]
    for place in draw(st.lists(st.integers(0, 30), max_size=3)):
        after.insert(place % (len(after) + 1), entry(100 + len(after) + place))
    for place in draw(st.lists(st.integers(0, 30), max_size=3)):
        if after:
            after[place % len(after)] = replace(after[place % len(after)], mtime_ns=5)
    for place in draw(st.lists(st.integers(0, 30), max_size=2)):
        after = after[place:] + after[:place]
    return shards, list({one.path: one for one in after}.values())


@settings(max_examples=40)
@given(rescans(), st.integers(1, 9))
def test_a_source_that_changed_a_little_is_told_apart_as_well(case: tuple[Recorded, list[Entry]], size: int) -> None:
    shards, scan = case
    with closing(in_memory()) as db:
        recorded_in(db, shards)
        known = KnownEntries(db)
        assert naively(shards, scan) == sorted_out(known, scan, size)
        known.close()


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), max_size=50),
    st.integers(1, 9),
    st.lists(st.integers(100, 120), max_size=9, unique=True),
)
def test_an_unchanged_order_needs_no_index_even_with_new_files_behind_it(
    sizes: list[int], size: int, added: list[int]
) -> None:
    """An index of a million files takes seconds and a disk: a plain resume must not pay for it."""
    numbers = iter(range(1000))
    shards: Recorded = [(ShardState.SENT, [entry(next(numbers)) for _ in range(count)]) for count in sizes]
    new = [entry(1000 + number) for number in added]
    with closing(in_memory()) as db:
        recorded_in(db, shards)
        known = KnownEntries(db)
        scan = [one for _, entries in shards for one in entries]
        assert Sorted(new, []) == sorted_out(known, scan + new, size)
        assert known._index is None
        known.close()


def test_the_first_run_builds_no_index() -> None:
    with closing(in_memory()) as db:
        known = KnownEntries(db)
        scan = [entry(number) for number in range(20)]
        assert Sorted(scan, []) == sorted_out(known, scan, 7)
        assert known._index is None
        known.close()


def test_after_a_file_has_left_the_scan_goes_on_without_asking_for_each() -> None:
    shards: Recorded = [(ShardState.SENT, [entry(10 * shard + place) for place in range(10)]) for shard in range(20)]
    scan = [one for _, entries in shards for one in entries]
    del scan[55]
    with closing(in_memory()) as db:
        recorded_in(db, shards)
        known = KnownEntries(db)
        asked: list[str] = []
        known.sort_out(scan[:56])
        assert known._index is not None
        known._index.set_trace_callback(asked.append)
        assert Sorted([], []) == known.sort_out(scan[56:])
        assert asked == []
        known.close()


def test_equal_paths_of_two_sources_are_two_files() -> None:
    shards: Recorded = [(ShardState.SENT, [entry(1, root=0), entry(2, root=1), entry(1, root=1)])]
    scan = [entry(2, root=0), entry(1, root=1), entry(2, root=1)]
    with closing(in_memory()) as db:
        recorded_in(db, shards)
        known = KnownEntries(db)
        assert Sorted([scan[0]], []) == known.sort_out(scan)
        known.close()


# while shards are sent


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    with open_checkpoint(tmp_path, Identity("https://api", "w", "b", ("/s",))) as found:
        yield found


def pending(checkpoint: Checkpoint) -> list[Shard]:
    return anyio.run(checkpoint.pending_after, 0, 999)


def test_what_is_planned_while_the_scan_goes_on_is_not_what_was_known(checkpoint: Checkpoint) -> None:
    plan_now(checkpoint, [((entry(1), entry(2)), 1)])
    with closing(KnownEntries(checkpoint.read())) as known:
        assert known.sort_out([entry(1)]).new == []
        plan_now(checkpoint, [((entry(7),), 1)])
        assert [entry(7), entry(8)] == known.sort_out([entry(2), entry(7), entry(8)]).new
    with closing(KnownEntries(checkpoint.read())) as known:
        assert [entry(8)] == known.sort_out([entry(1), entry(2), entry(7), entry(8)]).new


@pytest.mark.parametrize("read_before", [0, 1, 40])
@pytest.mark.parametrize("scan_before", [[], [entry(999)]])
def test_a_shard_that_is_split_before_the_scan_meets_it_is_not_planned_twice(
    checkpoint: Checkpoint, read_before: int, scan_before: list[Entry]
) -> None:
    """On a resume, sending begins before the scan has come by: each image would arrive a second time."""
    entries = tuple(entry(number) for number in range(100))
    plan_now(checkpoint, [(entries[start : start + 2], 1) for start in range(0, 100, 2)])
    with closing(KnownEntries(checkpoint.read())) as known:
        known.sort_out(scan_before)
        known.sort_out(list(entries[:read_before]))
        for shard in pending(checkpoint):
            parts = [((one,), 1) for one in shard.entries]
            anyio.run(checkpoint.split, replace(shard, state=ShardState.SPLIT), parts)
        assert Sorted([], []) == known.sort_out(list(entries[read_before:]))


@pytest.mark.parametrize("opened_first", [True, False])
def test_members_that_move_to_other_shards_are_not_planned_twice(checkpoint: Checkpoint, *, opened_first: bool) -> None:
    entries = tuple(entry(number) for number in range(6))
    plan_now(checkpoint, [(entries[:4], 1), (entries[4:], 1)])

    def move() -> None:
        shard = pending(checkpoint)[0]
        kept = replace(shard, entries=entries[:1])
        anyio.run(checkpoint.repack, kept, [], [(entries[1:2], 1), (entries[2:4], 1)])

    if not opened_first:
        move()
    with closing(KnownEntries(checkpoint.read())) as known:
        if opened_first:
            move()
        assert Sorted([], []) == known.sort_out(list(entries))


def test_an_image_that_is_quarantined_before_the_scan_meets_it_is_not_planned_again(checkpoint: Checkpoint) -> None:
    """It is in the books already, as one that failed."""
    entries = tuple(entry(number) for number in range(3))
    plan_now(checkpoint, [(entries, 1)])
    with closing(KnownEntries(checkpoint.read())) as known:
        [shard] = pending(checkpoint)
        lost = [(entries[1], RefusalReason.UNREADABLE, "")]
        anyio.run(checkpoint.repack, replace(shard, entries=(entries[0], entries[2])), lost, [])
        assert Sorted([], []) == known.sort_out(list(entries))


@pytest.mark.parametrize("scan", [[entry(1), entry(2)], [entry(9)]])
def test_the_log_can_be_folded_in_again_once_all_is_known(checkpoint: Checkpoint, scan: list[Entry]) -> None:
    """Else it would grow for as long as a long scan takes."""
    plan_now(checkpoint, [((entry(1),), 1)])
    with closing(KnownEntries(checkpoint.read())) as known:
        assert known._db.in_transaction
        known.sort_out(scan)
        assert not known._db.in_transaction


# damage


def test_damaged_members_are_refused() -> None:
    with closing(in_memory()) as db:
        recorded_in(db, [(ShardState.SENT, [entry(1)])])
        db.execute("UPDATE members SET crc32c = crc32c + 1")
        known = KnownEntries(db)
        with pytest.raises(CheckpointDamaged):
            known.sort_out([entry(1)])
        known.close()


@pytest.mark.parametrize("scan", [[entry(1)], [entry(2)]])
def test_what_the_disk_says_is_translated(scan: list[Entry]) -> None:
    with closing(in_memory()) as db:
        recorded_in(db, [(ShardState.SENT, [entry(1)])])
        known = KnownEntries(db)
        db.execute("DROP TABLE members")
        with pytest.raises(CheckpointDamaged, match="no such table"):
            known.sort_out(scan)
        known.close()


def test_a_file_that_is_no_checkpoint_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(b"garbage" * 1000)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as db,
        pytest.raises(CheckpointDamaged, match="no checkpoint"),
    ):
        KnownEntries(db)


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 1])
def test_two_hundred_thousand_files_are_resumed(checkpoint: Checkpoint, left: int) -> None:
    entries = [entry(number) for number in range(200_000)]
    plan_now(checkpoint, [(tuple(group), 1) for group in in_groups(entries, 500)])
    with closing(KnownEntries(checkpoint.read())) as known:
        assert Sorted([], []) == sorted_out(known, entries[left:], 500)
        assert (known._index is None) is (left == 0)
