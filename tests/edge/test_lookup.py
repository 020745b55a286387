from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.model import Entry
from rfbulk.core.transfer import ShardState
from rfbulk.edge import checkpoint, lookup
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.errors import CheckpointDamaged


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(schema.TABLES)
        yield connection


def sent(db: sqlite3.Connection, *names: str, path: str = "", state: ShardState = ShardState.SENT) -> int:
    """Record a shard, and return its number."""
    entries = tuple(Entry(0, name.encode(), name, 10, 1, 1) for name in names)
    checkpoint._insert_planned(db, [(entries, 1)])
    number = int(db.execute("SELECT max(id) FROM shards").fetchone()[0])
    db.execute("UPDATE shards SET state = ?, object_path = ? WHERE id = ?", (state, path, number))
    return number


@pytest.mark.parametrize("path", ["/bucket/b/%s", "/bucket/%s/data.tar", "/%s.tar", "/bucket/%s.tar.gz", "/%s/x/y"])
def test_a_row_is_ours_if_its_id_stands_in_the_path_as_a_segment_or_its_stem(db: sqlite3.Connection, path: str) -> None:
    first = sent(db, "a.jpg", path=path % "id-1")
    second = sent(db, "b.jpg", path=path % "id-2")
    assert {"id-1": first, "id-2": second} == lookup.match_rows(db, ["id-2", "id-3", "id-1"])


def test_an_id_may_hold_dots_itself(db: sqlite3.Connection) -> None:
    number = sent(db, "a.jpg", path="/bucket/shard.v1.7.tar")
    assert {"shard.v1.7": number} == lookup.match_rows(db, ["shard.v1.7"])


@pytest.mark.parametrize("shared", ["bucket", "spring", "shard", "data.tar", "data"])
def test_a_segment_that_shards_share_matches_none_of_them(db: sqlite3.Connection, shared: str) -> None:
    sent(db, "a.jpg", path="/bucket/spring/shard/1/data.tar")
    sent(db, "b.jpg", path="/bucket/spring/shard/2/data.tar")
    assert lookup.match_rows(db, [shared]) == {}


@pytest.mark.parametrize("part", ["id", "id-", "d-1", "bucket/id-1", "", ".tar", "tar", "ID-1"])
def test_a_part_of_a_segment_matches_nothing(db: sqlite3.Connection, part: str) -> None:
    sent(db, "a.jpg", path="/bucket/id-1.tar")
    assert lookup.match_rows(db, [part]) == {}


@pytest.mark.parametrize("state", ShardState)
def test_only_shards_that_arrived_or_may_have_have_rows(db: sqlite3.Connection, state: ShardState) -> None:
    sent(db, "a.jpg", path="/bucket/id-1", state=state)
    assert bool(lookup.match_rows(db, ["id-1"])) is (state in (ShardState.SENT, ShardState.INDEXED, ShardState.UNSURE))


def test_what_was_sent_since_is_matched_once_the_old_is_forgotten(db: sqlite3.Connection) -> None:
    first = sent(db, "a.jpg", path="/bucket/id-1")
    lookup.match_rows(db, [])
    second = sent(db, "b.jpg", path="/bucket/id-2")
    assert {"id-1": first} == lookup.match_rows(db, ["id-1", "id-2"])
    lookup.forget_segments(db)
    assert {"id-1": first, "id-2": second} == lookup.match_rows(db, ["id-1", "id-2"])


def test_forgetting_nothing_does_nothing(db: sqlite3.Connection) -> None:
    lookup.forget_segments(db)
    assert lookup.match_rows(db, ["id-1"]) == {}


@given(st.text(st.sampled_from("ab./"), max_size=12))
def test_no_segment_is_empty_or_holds_a_slash(path: str) -> None:
    assert not [segment for segment in lookup.segments_of(path) if not segment or "/" in segment]


def test_what_is_not_listed_is_absent_and_what_is_listed_twice_is_doubled(db: sqlite3.Connection) -> None:
    first = sent(db, "a", "b", "c")
    second = sent(db, "d", "e")
    sent(db, "f")
    lookup.begin_look_up(db, [first, second])
    lookup.mark_listed(db, ["a", "d", "a", "somebody else's"])
    lookup.mark_listed(db, ["b", "d"])
    assert {first: {"c"}, second: {"e"}} == lookup.absent_by_shard(db)
    assert lookup.doubled_names(db, 9) == ["a", "d"]
    assert lookup.doubled_names(db, 1) == ["a"]


def test_by_default_all_that_arrived_is_expected(db: sqlite3.Connection) -> None:
    first = sent(db, "a")
    second = sent(db, "b", state=ShardState.INDEXED)
    for state in set(ShardState) - {ShardState.SENT, ShardState.INDEXED}:
        sent(db, state.name, state=state)
    lookup.begin_look_up(db, None)
    assert {first: {"a"}, second: {"b"}} == lookup.absent_by_shard(db)


def test_each_look_up_begins_anew(db: sqlite3.Connection) -> None:
    number = sent(db, "a")
    lookup.begin_look_up(db, None)
    lookup.mark_listed(db, ["a", "a"])
    lookup.begin_look_up(db, [number])
    assert ({number: {"a"}}, []) == (lookup.absent_by_shard(db), lookup.doubled_names(db, 9))


def test_nothing_expected_is_nothing_absent(db: sqlite3.Connection) -> None:
    lookup.begin_look_up(db, [])
    lookup.mark_listed(db, ["a"])
    assert lookup.absent_by_shard(db) == {}


def test_one_shard_can_be_read(db: sqlite3.Connection) -> None:
    number = sent(db, "a", path="/x")
    shard = lookup.shard_by_id(db, number)
    assert (number, "/x", ["a"]) == (shard.id, shard.object_path, [entry.name for entry in shard.entries])


def test_damaged_members_are_not_looked_up(db: sqlite3.Connection) -> None:
    sent(db, "a")
    db.execute("UPDATE members SET packed = zeroblob(length(packed))")
    with pytest.raises(CheckpointDamaged):
        lookup.begin_look_up(db, None)
