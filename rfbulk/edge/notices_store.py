"""The inbox of notifications: one SQLite file, each notification durable before its sender hears 2xx.

A delivery that repeats is counted, one that says something else under the same event is kept beside and flagged. What
is to follow from a notification is recorded too, so that it is done once more and not forgotten if the process dies.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import anyio.to_thread
import msgspec

from rfbulk.core.notices import IngestNotice, digest_of, subject_of
from rfbulk.edge.checkpoint_file import SUFFIX, Shape, connect_to_read, held, writer_of
from rfbulk.edge.writer import SqliteWriter
from rfbulk.errors import NoRoom

if TYPE_CHECKING:
    from rfbulk.core.notices import Notice

T = TypeVar("T")

NAME: Final = "inbox"
_NOTHING: Final = "nothing was to follow"
MAX_CONFLICTS: Final = 16
"""Conflicting bodies kept for one event: a sender that has lost its mind must not fill the disk."""

KEPT_SECONDS: Final = 30 * 86_400.0
"""How long what has been followed is remembered: longer than any sender goes on delivering."""

_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notices (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    digest TEXT NOT NULL,
    body BLOB NOT NULL,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 1,
    conflicts INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    followed TEXT NOT NULL DEFAULT '',
    flowed TEXT NOT NULL DEFAULT ''
);
CREATE INDEX notices_to_follow ON notices (due_at, number) WHERE followed = '';
CREATE INDEX notices_to_flow ON notices (subject, number) WHERE flowed = '';
CREATE INDEX notices_by_subject ON notices (subject, number);
CREATE TABLE conflicts (
    event_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    body BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (event_id, digest)
) WITHOUT ROWID;
"""
SHAPE: Final = Shape(_TABLES, 1, "move the file away; what it held is known to the service")

_INSERT: Final = (
    "INSERT INTO notices (event_id, subject, digest, body, first_at, last_at, followed, flowed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (event_id) DO UPDATE SET deliveries = deliveries + 1, last_at = excluded.last_at"
    " RETURNING deliveries, digest"
)


class Delivery(StrEnum):
    """What a delivery was."""

    NEW = "new"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"  # another body under an event that is known


class Kept(msgspec.Struct, frozen=True):
    """A notification in the inbox. `followed` is "" until what follows from it is done, or given up."""

    number: int
    event_id: str
    body: bytes
    deliveries: int
    conflicts: int
    attempts: int
    followed: str


class Inbox:
    """An open inbox. Made by `open_inbox`; every change is durable when its call returns.

    After the disk was full it is opened again as soon as there is room. After any other failure of the disk nothing
    more is taken until the process is started anew.
    """

    def __init__(
        self, path: Path, writer: SqliteWriter, *, follows: bool, flows: bool, now: Callable[[], float]
    ) -> None:
        self.path = path
        self._writer = writer
        self._followed = "" if follows else _NOTHING
        self._flows = flows
        self._now = now
        self._is_full = False

    async def store(self, body: bytes, notice: Notice) -> Delivery:
        """Keep a notification.

        Raises:
            NoRoom, CheckpointDamaged: it is not kept.
        """
        digest, subject, now = digest_of(body), subject_of(notice), self._now()
        flowed = "" if self._flows and isinstance(notice, IngestNotice) else _NOTHING
        values = (notice.event_id, subject, digest, body, now, now, self._followed, flowed)
        return await self._run(lambda db: _store(db, values))

    async def to_follow(self, limit: int, without: Sequence[int] = ()) -> list[Kept]:
        """Return notifications that something is to follow from, the oldest first, but for some that are in hand."""
        sql = f"SELECT {_COLUMNS} FROM notices WHERE followed = '' AND due_at <= ? ORDER BY number LIMIT ?"  # noqa: S608 - constants
        now = self._now()
        rows = await self._run(lambda db: db.execute(sql, (now, limit + len(without))).fetchall())
        return [Kept(*row) for row in rows if row[0] not in without][:limit]

    async def next_due(self) -> float | None:
        """Return in how many seconds the next one is due, None if there is none."""
        sql = "SELECT min(due_at) FROM notices WHERE followed = ''"
        due = await self._run(lambda db: db.execute(sql).fetchone()[0])
        return None if due is None else max(0.0, due - self._now())

    async def record_followed(self, number: int, outcome: str) -> None:
        """Record that what follows from a notification is done, or given up."""
        sql = "UPDATE notices SET followed = ?, attempts = attempts + 1 WHERE number = ?"
        await self._run(lambda db: _execute(db, sql, outcome, number))

    async def record_attempt(self, number: int, again_in: float) -> None:
        """Record that what follows from a notification failed, and is to be tried again."""
        sql = "UPDATE notices SET attempts = attempts + 1, due_at = ? WHERE number = ?"
        due = self._now() + again_in
        await self._run(lambda db: _execute(db, sql, due, number))

    async def subjects_to_flow(self) -> list[tuple[str, int]]:
        """Return what has notifications that a standing flow has not worked off, and the latest one's number."""
        sql = "SELECT subject, max(number) FROM notices WHERE flowed = '' GROUP BY subject ORDER BY min(number)"
        return await self._run(lambda db: [(str(row[0]), int(row[1])) for row in db.execute(sql)])

    async def record_flowed(self, subject: str, up_to: int, outcome: str) -> None:
        """Record what a standing flow came to that took all notifications on a subject into account, up to one."""
        sql = "UPDATE notices SET flowed = ? WHERE subject = ? AND number <= ? AND flowed = ''"
        await self._run(lambda db: _execute(db, sql, outcome, subject, up_to))

    async def counts(self) -> tuple[int, int, int]:
        """Return how many events there are, how many deliveries came, and how many of them conflicted."""
        sql = "SELECT count(*), coalesce(sum(deliveries), 0), coalesce(sum(conflicts), 0) FROM notices"
        row = await self._run(lambda db: db.execute(sql).fetchone())
        return int(row[0]), int(row[1]), int(row[2])

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_full:
            self._is_full = False  # one caller tries, and those behind it get the old writer's refusal meanwhile
            try:
                await anyio.to_thread.run_sync(self._open_again)
            except NoRoom:
                self._is_full = True
                raise
        try:
            return await self._writer.run(work)
        except NoRoom:
            self._is_full = True
            raise

    def _open_again(self) -> None:
        self._writer.stop()
        writer = writer_of(self.path, SHAPE, {})
        writer.start()
        self._writer = writer

    def close(self) -> None:
        """Finish what is queued. Blocks on the disk."""
        self._writer.stop()


@contextmanager
def open_inbox(
    folder: Path, *, follows: bool, flows: bool = False, now: Callable[[], float] = time.time
) -> Iterator[Inbox]:
    """Open or create the inbox of a folder, and hold it against other processes. Blocks: call it in a thread.

    `follows` tells whether anything is to follow from each notification that is received from now on, `flows` whether
    standing flows are to follow from ingests.

    Raises:
        CheckpointBusy: another process receives into this folder.
        CheckpointDamaged, NoRoom, UsageError: as for any file of ours.
    """
    with held(folder, NAME, SHAPE, {}, restart=False) as (path, writer):
        writer.run_blocking(lambda db: _forget_old(db, now() - KEPT_SECONDS))
        inbox = Inbox(path, writer, follows=follows, flows=flows, now=now)
        try:
            yield inbox
        finally:
            inbox.close()


def latest_number(folder: Path, subject: str) -> int:
    """Return the number of the latest notification on a subject, for whoever waits in another process.

    Blocks on the disk. It is 0 where there is none, no inbox, or one that cannot be read now.
    """
    path = folder / f"{NAME}{SUFFIX}"
    if not path.exists():
        return 0
    sql = "SELECT coalesce(max(number), 0) FROM notices WHERE subject = ?"
    try:
        with closing(connect_to_read(path)) as db:
            return int(db.execute(sql, (subject,)).fetchone()[0])
    except sqlite3.Error:
        return 0


_COLUMNS: Final = "number, event_id, body, deliveries, conflicts, attempts, followed"


def _store(db: sqlite3.Connection, values: tuple[object, ...]) -> Delivery:
    event_id, _, digest, body, now, *_ = values
    deliveries, known = db.execute(_INSERT, values).fetchone()
    if deliveries == 1:
        return Delivery.NEW
    if known == digest:
        return Delivery.REPEATED
    db.execute("UPDATE notices SET conflicts = conflicts + 1 WHERE event_id = ?", (event_id,))
    kept = db.execute("SELECT count(*) FROM conflicts WHERE event_id = ?", (event_id,)).fetchone()[0]
    if kept < MAX_CONFLICTS:
        db.execute("INSERT OR IGNORE INTO conflicts VALUES (?, ?, ?, ?)", (event_id, digest, body, now))
    return Delivery.CONFLICTING


def _execute(db: sqlite3.Connection, sql: str, *values: object) -> None:
    db.execute(sql, values)


def _forget_old(db: sqlite3.Connection, before: float) -> None:
    db.execute("DELETE FROM notices WHERE followed != '' AND flowed != '' AND last_at < ?", (before,))
    db.execute("DELETE FROM conflicts WHERE at < ?", (before,))
