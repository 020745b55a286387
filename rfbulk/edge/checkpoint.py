"""The durable record of an upload: one SQLite file in the user's state folder, one writer.

It survives the death of the process and of the machine (`synchronous=FULL`), never lives in the source, and holds a
signed URL only while its shard is granted.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.report import Totals
from rfbulk.core.transfer import ARRIVED, PENDING, Shard, ShardState
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.edge import failures as failed
from rfbulk.edge import lookup
from rfbulk.edge.checkpoint_file import connect_to_read, fact, facts_of, held, newest_first, read_only, set_fact
from rfbulk.edge.writer import SqliteWriter, translated
from rfbulk.errors import CheckpointDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rfbulk.core.model import Entry


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose upload a checkpoint records. Equal identities are the same upload, and share one checkpoint.

    `partition` is empty for a whole source, else as `2/7`: each share is an upload of its own.
    """

    service: str
    workspace: str
    batch: str
    sources: tuple[str, ...]
    road: str = "upload-images"
    partition: str = ""

    @property
    def id(self) -> str:
        """A short name of the checkpoint: the batch, and a digest of all the rest."""
        share = [self.partition] if self.partition else []
        text = orjson.dumps([self.road, self.service, self.workspace, self.batch, self.sources, *share])
        return f"{self.batch}-{hashlib.sha256(text).hexdigest()[:10]}"

    @property
    def facts(self) -> dict[str, str]:
        """What the checkpoint says of itself."""
        sources = orjson.dumps(self.sources).decode()
        whose = {"service": self.service, "workspace": self.workspace, "batch": self.batch}
        share = {"partition": self.partition} if self.partition else {}
        return whose | {"sources": sources, "road": self.road} | share


class Checkpoint:
    """An open checkpoint. Made by `open_checkpoint`; every change is durable when the call returns."""

    def __init__(self, path: Path, writer: SqliteWriter) -> None:
        self.path = path
        self._writer = writer

    # facts

    async def fact(self, name: str) -> str | None:
        """Return a fact by name, None if it was never recorded."""
        return await self._writer.run(lambda db: fact(db, name))

    async def record_fact(self, name: str, value: str) -> None:
        """Record a fact, replacing its earlier value."""
        await self._writer.run(lambda db: set_fact(db, name, value))

    # shards

    async def plan_shards(self, shards: Sequence[tuple[tuple[Entry, ...], int]]) -> None:
        """Record planned shards, in order."""
        await self._writer.run(lambda db: _insert_planned(db, shards))

    async def pending_after(self, number: int, limit: int) -> list[Shard]:
        """Return up to `limit` shards that are still to be sent, in order of their ids, beyond `number`."""

        def work(db: sqlite3.Connection) -> list[Shard]:
            # State by state, so that the index gives them in order: sorting would read all that is still to be sent.
            found = [_in_state(db, state, number, limit) for state in PENDING]
            return sorted(chain.from_iterable(found), key=attrgetter("id"))[:limit]

        return await self._writer.run(work)

    async def in_state(self, state: ShardState, after: int = 0, limit: int = 100) -> list[Shard]:
        """Return up to `limit` shards of one state, in order of their ids, beyond `after`."""
        return await self._writer.run(lambda db: _in_state(db, state, after, limit))

    async def update(self, shard: Shard) -> None:
        """Record where a shard stands. Its members stay as they are."""
        values = schema.shard_values(shard)
        await self._writer.run(lambda db: _execute(db, schema.UPDATE, values))

    async def repack(
        self,
        shard: Shard,
        failures: Sequence[tuple[Entry, RefusalReason, str]],
        others: Sequence[tuple[tuple[Entry, ...], int]],
    ) -> None:
        """Record a shard with new members, those that failed, and those planned as `others`, in one step."""

        def work(db: sqlite3.Connection) -> None:
            _repack(db, shard, failures)
            _insert_planned(db, others, shard.sequence)

        await self._writer.run(work)

    async def split(self, shard: Shard, parts: Sequence[tuple[tuple[Entry, ...], int]]) -> None:
        """Record that `shard` (now SPLIT, or decided otherwise) is replaced by `parts`, in one step."""
        await self._writer.run(lambda db: _split(db, shard, parts))

    async def fail_entries(self, shard: Shard, failures: Sequence[tuple[Entry, RefusalReason, str]]) -> None:
        """Record where a shard stands and which of its members failed, in one step."""

        def work(db: sqlite3.Connection) -> None:
            _execute(db, schema.UPDATE, schema.shard_values(shard))
            _insert_failures(db, failures, shard.id)

        await self._writer.run(work)

    async def mark_indexed(self, numbers: Sequence[int] | None) -> None:
        """Record that the service has taken in these SENT shards (None: all of them)."""
        sql = "UPDATE shards SET state = ? WHERE state = ?"
        values: list[tuple[int, ...]] = [(ShardState.INDEXED, ShardState.SENT)]
        if numbers is not None:
            sql += " AND id = ?"
            values = [(*values[0], number) for number in numbers]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(sql, values)

        await self._writer.run(work)

    async def end_doubts(self) -> None:
        """Record that nothing that the service has taken in is there twice."""
        sql = "UPDATE shards SET in_doubt = 0 WHERE state = ? AND in_doubt"
        await self._writer.run(lambda db: _execute(db, sql, (ShardState.INDEXED,)))

    # what the service lists

    async def match_rows(self, shard_ids: Sequence[str]) -> dict[str, int]:
        """Return which of the service's shard ids are of shards that arrived, or may have, and of which."""
        return await self._writer.run(lambda db: lookup.match_rows(db, shard_ids))

    async def forget_matches(self) -> None:
        """Discard what `match_rows` has gathered, since further shards have been sent."""
        await self._writer.run(lookup.forget_segments)

    async def begin_look_up(self, shards: Sequence[int] | None) -> None:
        """Expect the members of these shards (None: of all that have arrived) in the service's listing."""
        await self._writer.run(lambda db: lookup.begin_look_up(db, shards))

    async def mark_listed(self, names: Sequence[str]) -> None:
        """Take note of names that the service lists."""
        await self._writer.run(lambda db: lookup.mark_listed(db, names))

    async def absent(self) -> dict[int, set[str]]:
        """Return the expected names that were not listed, by shard."""
        return await self._writer.run(lookup.absent_by_shard)

    async def doubled(self, limit: int) -> list[str]:
        """Return expected names that were listed more than once."""
        return await self._writer.run(lambda db: lookup.doubled_names(db, limit))

    async def shard(self, number: int) -> Shard:
        """Return one shard."""
        return await self._writer.run(lambda db: lookup.shard_by_id(db, number))

    async def begin_run(self, *, keeps_quarantined: bool = False) -> None:
        """Make ready for another run: what failed without a trace at the store is tried again.

        What was quarantined is forgotten, since the scan finds it again, unless it is kept to be tried without one.
        """
        await self._writer.run(lambda db: _begin_run(db, keeps_quarantined=keeps_quarantined))

    # second tries

    async def quarantined_after(self, key: tuple[int, bytes, str], limit: int) -> list[tuple[Refusal, str]]:
        """Return files that were quarantined, with their names, in order of root, path and name, beyond `key`."""
        return await self._writer.run(lambda db: failed.quarantined_after(db, key, limit))

    async def plan_quarantined(
        self,
        shards: Sequence[tuple[tuple[Entry, ...], int]],
        entries: Sequence[Entry],
        still: Sequence[tuple[Entry, RefusalReason, str]],
    ) -> None:
        """Record quarantined `entries` as planned, in `shards`, and why others `still` cannot be sent, in one step."""

        def work(db: sqlite3.Connection) -> None:
            _insert_planned(db, shards)
            failed.forget(db, entries)
            _insert_failures(db, still, None)

        await self._writer.run(work)

    async def failed_shards(self) -> list[int]:
        """Return the shards of which a member failed after it may have been sent."""
        return await self._writer.run(failed.failed_shards)

    async def settle(self, shard: Shard, others: Sequence[tuple[tuple[Entry, ...], int]]) -> None:
        """Record a shard with the members that it has, and those planned as `others`; none has failed any more."""

        def work(db: sqlite3.Connection) -> None:
            failed.forget_of_shard(db, shard.id)
            _repack(db, shard, [])
            _insert_planned(db, others, shard.sequence)

        await self._writer.run(work)

    # what became of images

    async def totals(self) -> Totals:
        """Return the books so far."""
        return await self._writer.run(_totals)

    async def failures(self, limit: int = -1) -> list[tuple[Refusal, str, bool]]:
        """Return images that failed after they were planned: what, its member name, whether it was in a shard."""
        sql = "SELECT root, path, reason, detail, name, shard IS NOT NULL FROM failures LIMIT ?"
        rows = await self._writer.run(lambda db: db.execute(sql, (limit,)).fetchall())
        return [(Refusal(row[0], row[1], RefusalReason(row[2]), row[3]), row[4], bool(row[5])) for row in rows]

    async def failure_counts(self) -> tuple[int, int]:
        """Return how many images were quarantined (never sent), and how many were sent and then failed."""
        sql = "SELECT coalesce(sum(shard IS NULL), 0), coalesce(sum(shard IS NOT NULL), 0) FROM failures"
        row = await self._writer.run(lambda db: db.execute(sql).fetchone())
        return int(row[0]), int(row[1])

    def read(self) -> sqlite3.Connection:
        """Open a further connection that only reads, for the calling thread. The caller closes it.

        Raises:
            CheckpointDamaged: it cannot be opened.
        """
        return read_only(self.path)


@contextmanager
def open_checkpoint(folder: Path, identity: Identity, *, restart: bool = False) -> Iterator[Checkpoint]:
    """Open or create the checkpoint of an upload in `folder`, and hold it against other processes.

    With `restart`, what an earlier run recorded is discarded first. Blocks on the disk: call it in a thread.

    Raises:
        CheckpointBusy, CheckpointDamaged, NoRoom, UsageError: as `checkpoint_file.held`.
    """
    with held(folder, identity.id, schema.SHAPE, identity.facts, restart=restart) as (path, writer):
        yield Checkpoint(path, writer)


def _execute(db: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> None:
    db.execute(sql, values)


def _in_state(db: sqlite3.Connection, state: ShardState, after: int, limit: int) -> list[Shard]:
    sql = f"SELECT {schema.COLUMNS} FROM whole_shards WHERE state = ? AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constants
    return [schema.shard_from(row) for row in db.execute(sql, (state, after, limit))]


_INSERT_SHARD: Final = (
    "INSERT INTO shards (sequence, state, images, image_bytes, tar_bytes)"
    " VALUES (coalesce(?, (SELECT coalesce(max(sequence), 0) + 1 FROM shards)), ?, ?, ?, ?)"
)
_PUT_MEMBERS: Final = "INSERT OR REPLACE INTO members VALUES (?, ?, ?)"


def _insert_planned(
    db: sqlite3.Connection, shards: Sequence[tuple[tuple[Entry, ...], int]], sequence: int | None = None
) -> None:
    for entries, tar_bytes in shards:
        image_bytes = sum(entry.size for entry in entries)
        row = db.execute(_INSERT_SHARD, (sequence, ShardState.PLANNED, len(entries), image_bytes, tar_bytes))
        db.execute(_PUT_MEMBERS, (row.lastrowid, *schema.pack_members(entries)))


def _repack(db: sqlite3.Connection, shard: Shard, failures: Sequence[tuple[Entry, RefusalReason, str]]) -> None:
    sql = "UPDATE shards SET images = ?, image_bytes = ?, tar_bytes = ? WHERE id = ?"
    db.execute(schema.UPDATE, schema.shard_values(shard))
    db.execute(sql, (len(shard.entries), shard.image_bytes, shard.tar_bytes, shard.id))
    db.execute(_PUT_MEMBERS, (shard.id, *schema.pack_members(shard.entries)))
    _insert_failures(db, failures, None)


def _split(db: sqlite3.Connection, shard: Shard, parts: Sequence[tuple[tuple[Entry, ...], int]]) -> None:
    db.execute(schema.UPDATE, schema.shard_values(shard))
    _insert_planned(db, parts, shard.sequence)


def _insert_failures(
    db: sqlite3.Connection, failures: Sequence[tuple[Entry, RefusalReason, str]], shard: int | None
) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)",
        [(entry.root, entry.path, entry.name, reason, detail, shard) for entry, reason, detail in failures],
    )


def _begin_run(db: sqlite3.Connection, *, keeps_quarantined: bool) -> None:
    """A shard that the store refused, and of which nothing arrived, is planned again; so are quarantined images."""
    again = "state = ? AND in_doubt = 0 AND hash_failures = 0"
    db.execute(f"DELETE FROM failures WHERE shard IN (SELECT id FROM shards WHERE {again})", (ShardState.FAILED,))  # noqa: S608
    if not keeps_quarantined:
        db.execute("DELETE FROM failures WHERE shard IS NULL")
    db.execute(
        f"UPDATE shards SET state = ?, attempts = 0, forbidden = 0, detail = '' WHERE {again}",  # noqa: S608
        (ShardState.PLANNED, ShardState.FAILED),
    )
    db.execute("UPDATE shards SET in_doubt = 1 WHERE state = ? AND attempts > 0", (ShardState.GRANTED,))


def _totals(db: sqlite3.Connection) -> Totals:
    rows = db.execute("SELECT state, sum(images), sum(image_bytes), count(*) FROM shards GROUP BY state").fetchall()
    arrived = ",".join(str(int(state)) for state in sorted(ARRIVED))
    unverified = db.execute(f"SELECT count(*) FROM shards WHERE state IN ({arrived}) AND NOT is_verified").fetchone()  # noqa: S608
    grants, granted = db.execute("SELECT coalesce(sum(grants), 0), sum(object_path != '') FROM shards").fetchone()
    repeated = db.execute(f"SELECT count(*) FROM shards WHERE state IN ({arrived}) AND in_doubt").fetchone()  # noqa: S608
    return Totals(
        {ShardState(row[0]): row[1] for row in rows},
        {ShardState(row[0]): row[2] for row in rows},
        {ShardState(row[0]): row[3] for row in rows},
        unverified[0],
        grants,
        granted or 0,
        repeated[0],
    )


def shared_otherwise(folder: Path, identity: Identity) -> str | None:
    """Return how else the same upload was begun by this user: in other shares (`3/5`), or whole (empty). None: not.

    Shares of different counts overlap, so that files would arrive twice.
    """
    count = identity.partition.partition("/")[2]
    whose = {name: value for name, value in identity.facts.items() if name != "partition"}
    for path in newest_first(folder):
        try:
            facts = facts_of(path)
        except CheckpointDamaged:
            continue  # whoever it belongs to is told
        found = facts.get("partition", "")
        if whose.items() <= facts.items() and found.partition("/")[2] != count:
            return found
    return None


def summaries(folder: Path) -> list[dict[str, Any]]:
    """Describe every checkpoint in a folder, newest first: id, facts, counts, size, or the error that hides them."""
    return [summary_of(path) for path in newest_first(folder)]


def summary_of(path: Path) -> dict[str, Any]:
    """Describe one checkpoint, whoever works on it: id, facts, counts, or the error that hides them."""
    summary: dict[str, Any] = {"id": path.stem, "path": str(path), "modified": path.stat().st_mtime}
    try:
        with closing(connect_to_read(path)) as db:
            facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
            totals = _totals(db)
            failed = db.execute("SELECT count(*) FROM failures").fetchone()[0]
            sources = orjson.loads(facts.get("sources", "[]"))
    except (sqlite3.Error, ValueError) as error:
        return summary | {"error": translated(error).cause}
    left = frozenset({*PENDING, ShardState.UNSURE})
    return summary | {
        "service": facts.get("service", ""),
        "workspace": facts.get("workspace", ""),
        "batch": facts.get("batch", ""),
        "sources": sources,
        "road": facts.get("road", ""),
        "partition": facts.get("partition", ""),
        "images_sent": totals.count(ARRIVED),
        "bytes_sent": totals.bytes(ARRIVED),
        "images_left": totals.count(left),
        "shards_left": totals.shard_count(left),
        "unused_grants": max(0, totals.grants - totals.shard_count(ARRIVED | {ShardState.GRANTED, ShardState.UNSURE})),
        "failures": failed,
        "scan_finished": facts.get("scan_finished") == "yes",
        "confirmed": facts.get("confirmed") == "yes",
    }
