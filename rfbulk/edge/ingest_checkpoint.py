"""The durable record of an ingest: which requests were made, under which names, and what each asked for.

One SQLite file in the user's state folder, one writer, never a URL. A request is recorded before it is made, so that
one whose answer was lost is made again under the same name, which the service knows.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from rfbulk.core.ingesting import IngestTotals, NamedReference, PlannedRequest, SortedReferences
from rfbulk.edge.checkpoint_file import Shape, connect_to_read, fact, held, newest_first, set_fact
from rfbulk.edge.writer import SqliteWriter, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rfbulk.core.ingest_wire import IngestKind
    from rfbulk.core.ingesting import Accepted
    from rfbulk.core.references import Reference

VERSION: Final = 1
"""Stored as SQLite's `user_version`. A file with another number is refused: it is of another rfbulk."""

TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    ingest_id TEXT NOT NULL UNIQUE,
    count INTEGER NOT NULL,
    is_accepted INTEGER NOT NULL DEFAULT 0,
    is_duplicated INTEGER NOT NULL DEFAULT 0,
    is_from_before INTEGER NOT NULL DEFAULT 0,
    shards INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    mark TEXT NOT NULL,
    request INTEGER NOT NULL,
    is_lost INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""

SHAPE: Final = Shape(TABLES, VERSION, "--restart begins anew; what the service has accepted it knows again by its name")
MAX_IDS_TOLD: Final = 1000
NAMED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class IngestIdentity:
    """Whose ingest a checkpoint records. Equal identities are the same ingest, and share one checkpoint."""

    service: str
    workspace: str
    batch: str
    kind: IngestKind
    source: str
    chosen_id: str | None = None

    @property
    def id(self) -> str:
        """A short name of the checkpoint: the batch, and a digest of all the rest."""
        text = orjson.dumps(
            ["ingest", self.service, self.workspace, self.batch, self.kind, self.source, self.chosen_id]
        )
        return f"{self.batch}-{hashlib.sha256(text).hexdigest()[:10]}"

    @property
    def facts(self) -> dict[str, str]:
        """What the checkpoint says of itself."""
        sources = orjson.dumps([self.source]).decode()
        whose = {"service": self.service, "workspace": self.workspace, "batch": self.batch}
        return whose | {"kind": self.kind, "sources": sources}


class IngestCheckpoint:
    """An open checkpoint. Made by `open_ingest_checkpoint`; every change is durable when the call returns."""

    def __init__(self, path: Path, writer: SqliteWriter) -> None:
        self.path = path
        self._writer = writer

    async def fact(self, name: str) -> str | None:
        """Return a fact by name, None if it was never recorded."""
        return await self._writer.run(lambda db: fact(db, name))

    async def record_fact(self, name: str, value: str) -> None:
        """Record a fact, replacing its earlier value."""
        await self._writer.run(lambda db: set_fact(db, name, value))

    async def sort_out(self, references: Sequence[Reference]) -> SortedReferences:
        """Tell references apart by what became of them in earlier runs."""
        return await self._writer.run(lambda db: _sort_out(db, references))

    async def plan(self, ingest_id: str, references: Sequence[Reference]) -> PlannedRequest:
        """Record a request before it is made, with all that it asks for."""
        return await self._writer.run(lambda db: _plan(db, ingest_id, references))

    async def pending(self) -> list[PlannedRequest]:
        """Return the requests that may not have been accepted, in order."""
        sql = "SELECT id, ingest_id, count FROM requests WHERE NOT is_accepted ORDER BY id"
        rows = await self._writer.run(lambda db: db.execute(sql).fetchall())
        return [PlannedRequest(*row) for row in rows]

    async def accept(self, request: PlannedRequest, accepted: Accepted) -> list[str]:
        """Record that a request was accepted. Return the names that it should have asked for and did not."""
        return await self._writer.run(lambda db: _accept(db, request, accepted))

    async def named_behind(self, name: str) -> list[NamedReference]:
        """Return what became of references, a thousand at a time in the order of their names, from behind `name`."""
        return await self._writer.run(lambda db: _named_behind(db, name))

    async def has(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that are in a request."""
        sql = "SELECT 1 FROM names WHERE name = ?"
        return await self._writer.run(lambda db: {name for name in names if db.execute(sql, (name,)).fetchone()})

    async def totals(self) -> IngestTotals:
        """Return the books so far."""
        return await self._writer.run(_totals)


@contextmanager
def open_ingest_checkpoint(
    folder: Path, identity: IngestIdentity, *, restart: bool = False
) -> Iterator[IngestCheckpoint]:
    """Open or create the checkpoint of an ingest in `folder`, and hold it against other processes.

    With `restart`, what an earlier run recorded is discarded first. Blocks on the disk: call it in a thread.

    Raises:
        CheckpointBusy, CheckpointDamaged, NoRoom, UsageError: as `checkpoint_file.held`.
    """
    with held(folder, identity.id, SHAPE, identity.facts, restart=restart) as (path, writer):
        yield IngestCheckpoint(path, writer)


def _sort_out(db: sqlite3.Connection, references: Sequence[Reference]) -> SortedReferences:
    found = SortedReferences()
    sql = (
        "SELECT names.mark, names.request, requests.is_accepted FROM names JOIN requests ON requests.id = names.request"
        " WHERE names.name = ? AND NOT names.is_lost"
    )
    for reference in references:
        row = db.execute(sql, (reference.name,)).fetchone()
        if row is None:
            found.new.append(reference)
        elif row[0] != reference.mark:
            found.changed.append(reference)
        elif row[2]:
            found.accepted += 1
        else:
            found.pending.append((row[1], reference))
    return found


def _plan(db: sqlite3.Connection, ingest_id: str, references: Sequence[Reference]) -> PlannedRequest:
    row = db.execute("INSERT INTO requests (ingest_id, count) VALUES (?, ?)", (ingest_id, len(references)))
    number = int(row.lastrowid or 0)
    values = ((each.name, each.mark, number) for each in references)
    db.executemany("INSERT OR REPLACE INTO names (name, mark, request) VALUES (?, ?, ?)", values)
    return PlannedRequest(number, ingest_id, len(references))


def _accept(db: sqlite3.Connection, request: PlannedRequest, accepted: Accepted) -> list[str]:
    lost: list[str] = []
    if accepted.present is not None:
        names = [row[0] for row in db.execute("SELECT name FROM names WHERE request = ?", (request.number,))]
        lost = [name for name in names if name not in accepted.present]
    db.execute(
        "UPDATE requests SET is_accepted = 1, is_duplicated = ?, is_from_before = ?, shards = ?, count = count - ?"
        " WHERE id = ?",
        (accepted.is_duplicated, accepted.is_from_before, accepted.shards, len(lost), request.number),
    )
    db.executemany("UPDATE names SET is_lost = 1 WHERE name = ?", ((name,) for name in lost))
    return lost


def _named_behind(db: sqlite3.Connection, name: str) -> list[NamedReference]:
    rows = db.execute(
        "SELECT name, ingest_id, is_accepted, is_lost FROM names JOIN requests ON requests.id = names.request"
        " WHERE name > ? ORDER BY name LIMIT ?",
        (name, NAMED_AT_ONCE),
    )
    return [NamedReference(name, ingest, bool(accepted), bool(lost)) for name, ingest, accepted, lost in rows]


def _totals(db: sqlite3.Connection) -> IngestTotals:
    accepted, before, pending, requests, duplicated, shards = db.execute(
        "SELECT coalesce(sum(count * is_accepted), 0), coalesce(sum(count * is_from_before), 0),"
        " coalesce(sum(count * (1 - is_accepted)), 0),"
        " coalesce(sum(is_accepted), 0), coalesce(sum(is_duplicated), 0), coalesce(sum(shards), 0) FROM requests"
    ).fetchone()
    lost = db.execute("SELECT count(*) FROM names WHERE is_lost").fetchone()[0]
    ids = db.execute("SELECT ingest_id FROM requests ORDER BY id LIMIT ?", (MAX_IDS_TOLD,)).fetchall()
    return IngestTotals(accepted, before, pending, lost, requests, duplicated, shards, [row[0] for row in ids])


def ingest_summaries(folder: Path) -> list[dict[str, Any]]:
    """Describe every checkpoint in a folder, newest first: id, facts, counts, or the error that hides them."""
    return [summary_of(path) for path in newest_first(folder)]


def summary_of(path: Path) -> dict[str, Any]:
    """Describe one checkpoint, whoever works on it: id, facts, counts, or the error that hides them."""
    summary: dict[str, Any] = {
        "id": path.stem,
        "kind": "ingest",
        "path": str(path),
        "modified": path.stat().st_mtime,
    }
    try:
        with closing(connect_to_read(path)) as db:
            facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
            totals = _totals(db)
            sources = orjson.loads(facts.get("sources", "[]"))
    except (sqlite3.Error, ValueError) as error:
        return summary | {"error": translated(error).cause}
    return summary | {
        "service": facts.get("service", ""),
        "workspace": facts.get("workspace", ""),
        "batch": facts.get("batch", ""),
        "media": facts.get("kind", ""),
        "sources": sources,
        "sent": totals.accepted,
        "left": totals.pending,
        "failures": totals.lost,
        "requests": totals.requests,
        "ingest_ids": totals.ingest_ids,
        "scan_finished": facts.get("scan_finished") == "yes",
        "confirmed": facts.get("confirmed") == "yes",
    }
