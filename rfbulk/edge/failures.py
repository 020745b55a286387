"""What a checkpoint names as failed, taken up again: files that were never sent, and members of shards that were."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.transfer import ShardState

if TYPE_CHECKING:
    from rfbulk.core.model import Entry


def quarantined_after(db: sqlite3.Connection, key: tuple[int, bytes, str], limit: int) -> list[tuple[Refusal, str]]:
    """Return files that were quarantined, with their names, in order of root, path and name, beyond `key`."""
    sql = (
        "SELECT root, path, reason, detail, name FROM failures"
        " WHERE shard IS NULL AND (root, path, name) > (?, ?, ?) ORDER BY root, path, name LIMIT ?"
    )
    rows = db.execute(sql, (*key, limit)).fetchall()
    return [(Refusal(root, path, RefusalReason(reason), detail), name) for root, path, reason, detail, name in rows]


def forget(db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Name these files no more."""
    keys = ((entry.root, entry.path, entry.name) for entry in entries)
    db.executemany("DELETE FROM failures WHERE root = ? AND path = ? AND name = ?", keys)


def failed_shards(db: sqlite3.Connection) -> list[int]:
    """Return the shards of which a member failed after it may have been sent, and those that failed as a whole."""
    sql = "SELECT DISTINCT shard FROM failures WHERE shard IS NOT NULL UNION SELECT id FROM shards WHERE state = ?"
    return sorted(row[0] for row in db.execute(sql, (ShardState.FAILED,)))


def forget_of_shard(db: sqlite3.Connection, number: int) -> None:
    """Name the members of a shard no more."""
    db.execute("DELETE FROM failures WHERE shard = ?", (number,))
