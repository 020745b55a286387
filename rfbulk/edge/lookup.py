"""What the service lists, held against what the checkpoint sent. In temporary tables, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from rfbulk.core.transfer import ARRIVED, Shard, ShardState
from rfbulk.edge import checkpoint_schema as schema

_ARRIVED: Final = ",".join(str(int(state)) for state in sorted(ARRIVED))
_OURS: Final = f"{_ARRIVED},{int(ShardState.UNSURE)}"


def match_rows(db: sqlite3.Connection, shard_ids: Sequence[str]) -> dict[str, int]:
    """Return which of the service's shard ids are ours, by the paths of our grants' URLs."""
    _ensure_segments(db)
    found: dict[str, int] = {}
    for shard_id in shard_ids:
        row = db.execute("SELECT shard FROM temp.segments WHERE segment = ?", (shard_id,)).fetchone()
        if row is not None and row[0] is not None:
            found[shard_id] = row[0]
    return found


def forget_segments(db: sqlite3.Connection) -> None:
    """Discard what `match_rows` knows: shards have been sent since."""
    db.execute("DROP TABLE IF EXISTS temp.segments")


def _ensure_segments(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'segments'").fetchone():
        return
    db.execute("CREATE TEMP TABLE segments (segment TEXT PRIMARY KEY, shard INTEGER) WITHOUT ROWID")
    rows = db.execute(f"SELECT id, object_path FROM shards WHERE state IN ({_OURS})")  # noqa: S608 - constants
    # A segment that two shards share (the bucket, the batch) tells none of them apart.
    db.executemany(
        "INSERT INTO temp.segments VALUES (?, ?) ON CONFLICT (segment) DO UPDATE SET shard = NULL",
        ((segment, number) for number, path in rows for segment in segments_of(path)),
    )


def segments_of(object_path: str) -> set[str]:
    """Return what a shard's id could be in the path of its object: each segment, with and without its suffixes."""
    segments = {segment for segment in object_path.split("/") if segment}
    stems = {segment[:place] for segment in segments for place, letter in enumerate(segment) if letter == "." and place}
    return segments | stems


def begin_look_up(db: sqlite3.Connection, numbers: Sequence[int] | None) -> None:
    """Expect the members of these shards (None: of all that have arrived) in the listing."""
    db.execute("DROP TABLE IF EXISTS temp.expected")
    db.execute("CREATE TEMP TABLE expected (name TEXT PRIMARY KEY, shard INTEGER, seen INTEGER) WITHOUT ROWID")
    for number, members, crc32c in _members(db, numbers):
        names = ((entry.name, number) for entry in schema.unpack_members(members, crc32c))
        db.executemany("INSERT OR IGNORE INTO temp.expected VALUES (?, ?, 0)", names)


def _members(db: sqlite3.Connection, numbers: Sequence[int] | None) -> Iterable[tuple[int, bytes, int]]:
    if numbers is None:
        numbers = [row[0] for row in db.execute(f"SELECT id FROM shards WHERE state IN ({_ARRIVED})")]  # noqa: S608 - constants
    for number in numbers:
        yield from db.execute("SELECT shard, packed, crc32c FROM members WHERE shard = ?", (number,))


def mark_listed(db: sqlite3.Connection, names: Sequence[str]) -> None:
    """Take note of names that the service lists."""
    db.executemany("UPDATE temp.expected SET seen = seen + 1 WHERE name = ?", ((name,) for name in names))


def absent_by_shard(db: sqlite3.Connection) -> dict[int, set[str]]:
    """Return the expected names that were not listed, by shard."""
    absent: dict[int, set[str]] = {}
    for name, number in db.execute("SELECT name, shard FROM temp.expected WHERE seen = 0"):
        absent.setdefault(number, set()).add(name)
    return absent


def doubled_names(db: sqlite3.Connection, limit: int) -> list[str]:
    """Return expected names that were listed more than once, at most `limit`."""
    rows = db.execute("SELECT name FROM temp.expected WHERE seen > 1 ORDER BY name LIMIT ?", (limit,))
    return [row[0] for row in rows]


def shard_by_id(db: sqlite3.Connection, number: int) -> Shard:
    """Return one shard."""
    row = db.execute(f"SELECT {schema.COLUMNS} FROM whole_shards WHERE id = ?", (number,)).fetchone()  # noqa: S608
    return schema.shard_from(row)
