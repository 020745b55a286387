"""What earlier runs have planned, told apart from what is new, in the order of the scan.

An unchanged source is scanned in the same order again, so the checkpoint's members are read in that order too and
compared as they come. Only where the two differ is an index built, on disk; memory does not grow with the number of
files either way.

Shards are sent, split and packed again while the scan still goes on. So what is known is seen in one snapshot, until
it has been read; and shards that others were split into count by the place of those.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.transfer import ARRIVED, ShardState
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.edge.writer import translated

if TYPE_CHECKING:
    from rfbulk.core.model import Entry

_PAGE: Final = (
    "SELECT sequence, id, state, members, members_crc32c FROM whole_shards"
    " WHERE state != ? AND sequence <= ? AND (sequence, id) > (?, ?) ORDER BY sequence, id LIMIT 32"
)

_START: Final = (-1, -1)


class Sorted(msgspec.Struct):
    """Entries of a scan, told apart: `new` ones, and ones that were sent and are different now."""

    new: list[Entry]
    changed: list[Entry]


class KnownEntries:
    """Tells entries that the checkpoint has from new ones. Takes over `connection`; belongs to one thread.

    Raises:
        CheckpointDamaged, NoRoom: the checkpoint cannot be read, or the index not be written. Any call may.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._last = _begin_snapshot(connection)
        self._upcoming: list[Entry] = []
        self._position = 0
        self._at = _START
        self._read_ahead: list[tuple[int, int, int, bytes, int]] = []
        self._index: sqlite3.Connection | None = None
        self._is_exhausted = False

    def close(self) -> None:
        """Close both connections."""
        self._db.close()
        if self._index is not None:
            self._index.close()

    def sort_out(self, entries: list[Entry]) -> Sorted:
        """Tell the entries of one group apart; groups must come in the order of the scan."""
        try:
            return self._sort_out(entries)
        except sqlite3.Error as error:
            raise translated(error) from error

    def _sort_out(self, entries: list[Entry]) -> Sorted:
        result = Sorted([], [])
        if self._is_exhausted and self._index is None:
            result.new = entries
            return result
        start = 0
        while start < len(entries):
            start += self._same_from(entries, start)
            if start < len(entries):
                self._look_up(entries[start], result)
                start += 1
        return result

    def _same_from(self, entries: list[Entry], start: int) -> int:
        """How many entries, from `start`, are the next ones of the checkpoint."""
        same = 0
        while start + same < len(entries) and self._has_upcoming():
            length = min(len(entries) - start - same, len(self._upcoming) - self._position)
            first = start + same
            if entries[first : first + length] == self._upcoming[self._position : self._position + length]:
                run = length
            else:
                pairs = zip(entries[first:], self._upcoming[self._position :], strict=False)
                run = next(place for place, (ours, theirs) in enumerate(pairs) if ours != theirs)
            self._position += run
            same += run
            if run < length:
                break
        return same

    def _has_upcoming(self) -> bool:
        while self._position >= len(self._upcoming):
            shard = self._next_shard()
            if shard is None:
                self._is_exhausted = True
                self._end_snapshot()
                return False
            self._upcoming, self._position = shard, 0
        return True

    def _look_up(self, entry: Entry, result: Sorted) -> None:
        if not self._has_upcoming() and self._index is None:
            result.new.append(entry)  # all that is known was seen, in order
            return
        if self._index is None:
            self._index = self._build_index()
            self._end_snapshot()
        rows = self._index.execute(
            "SELECT fingerprint, arrived, sequence, shard FROM known WHERE root = ? AND path = ?",
            (entry.root, entry.path),
        ).fetchall()
        if not rows:
            result.new.append(entry)
            return
        if _fingerprint(entry) not in {row[0] for row in rows} and any(row[1] for row in rows):
            result.changed.append(entry)
        self._go_on_behind(entry, rows[0][2:])

    def _go_on_behind(self, entry: Entry, shard: tuple[int, int]) -> None:
        """Files have left the source, or come in another order: read on from where this one stands."""
        if shard != self._at:
            self._at = shard
            row = self._db.execute("SELECT packed, crc32c FROM members WHERE shard = ?", (shard[1],)).fetchone()
            self._upcoming, self._read_ahead = list(schema.unpack_members(*row)), []
        file = entry.root, entry.path
        places = (place for place, known in enumerate(self._upcoming) if (known.root, known.path) == file)
        self._position = next(places, len(self._upcoming) - 1) + 1

    def _next_shard(self) -> list[Entry] | None:
        if not self._read_ahead:
            after = (ShardState.SPLIT, self._last, *self._at)
            self._read_ahead = self._db.execute(_PAGE, after).fetchall()[::-1]
        if not self._read_ahead:
            return None
        sequence, number, _, members, crc32c = self._read_ahead.pop()
        self._at = (sequence, number)
        return list(schema.unpack_members(members, crc32c))

    def _build_index(self) -> sqlite3.Connection:
        index = sqlite3.connect("", isolation_level=None)  # an unnamed file that goes away with the connection
        index.execute("PRAGMA journal_mode = OFF").fetchall()
        index.execute(
            "CREATE TABLE known (root INTEGER, path BLOB, fingerprint TEXT,"
            " arrived INTEGER, sequence INTEGER, shard INTEGER)"
        )
        index.execute("BEGIN")
        at = _START
        while rows := self._db.execute(_PAGE, (ShardState.SPLIT, self._last, *at)).fetchall():
            for sequence, number, state, members, crc32c in rows:
                at = (sequence, number)
                arrived = state in ARRIVED
                entries = schema.unpack_members(members, crc32c)
                values = [(e.root, e.path, _fingerprint(e), arrived, *at) for e in entries]
                index.executemany("INSERT INTO known VALUES (?, ?, ?, ?, ?, ?)", values)
        index.execute("CREATE INDEX known_by_path ON known (root, path)")
        index.execute("COMMIT")
        return index

    def _end_snapshot(self) -> None:
        """Let the checkpoint's log be folded in again; what is read from now on only finds the place to go on."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")


def _begin_snapshot(connection: sqlite3.Connection) -> int:
    """Hold on to the present state, and return where it ends."""
    try:
        connection.execute("BEGIN")
        return int(connection.execute("SELECT coalesce(max(sequence), 0) FROM shards").fetchone()[0])
    except sqlite3.Error as error:
        raise translated(error) from error


def _fingerprint(entry: Entry) -> str:
    """Return it as text: an inode may have all of 64 bits, SQLite's integers have a sign."""
    return f"{entry.size}:{entry.mtime_ns}:{entry.inode}"
