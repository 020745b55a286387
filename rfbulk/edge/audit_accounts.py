"""What an audit reads: checkpoints of uploads and of ingests, and sources as they are now.

Each account puts what it knows into the book, some of it at a time, and looks up in between whether anybody still
waits for it. All of it blocks on a disk or a line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from rfbulk.core.auditing import Difference, DifferenceKind, Fate, SentFile, why_changed
from rfbulk.core.model import SKIPPED, Entry, Refusal, RefusalReason
from rfbulk.core.selection import Chooser, Selection, chooser_of
from rfbulk.core.transfer import ARRIVED, ShardState
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.edge.checkpoint_file import connect_to_read
from rfbulk.edge.lookup import segments_of
from rfbulk.edge.writer import translated
from rfbulk.errors import CheckpointDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from rfbulk.core.ingesting import ReferenceGroup
    from rfbulk.edge.audit_book import AuditBook
    from rfbulk.edge.files import ScanGroup

IsStopped: TypeAlias = Callable[[], bool]
Tell: TypeAlias = Callable[[int], None]
Name: TypeAlias = Callable[[Sequence[Difference]], None]

ROWS_AT_ONCE: Final = 2000
SHARDS_AT_ONCE: Final = 32
_SHARDS: Final = (
    "SELECT id, state, members, members_crc32c, object_path FROM whole_shards"
    " WHERE id > ? AND state != ? ORDER BY id LIMIT ?"
)
_REFERENCES: Final = (
    "SELECT names.name, names.mark, names.is_lost, requests.is_accepted"
    " FROM names JOIN requests ON requests.id = names.request"
)
_FATES: Final = {ShardState.FAILED: Fate.FAILED, **dict.fromkeys(ARRIVED, Fate.SENT)}


class FileSource(Protocol):
    """Where files are: a folder, a list, a bucket."""

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The places in which entries' paths begin."""

    def scan(self) -> Iterator[ScanGroup]:
        """Walk it, group by group."""

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        """Look at a file again."""


class References(Protocol):
    """Where references are."""

    def scan(self) -> Iterator[ReferenceGroup]:
        """Read them, group by group."""


@dataclass(frozen=True, slots=True)
class UploadAccount:
    """What the checkpoint of an upload records. `pending` are shards that the service has not taken in yet."""

    path: Path
    origin: int
    book: AuditBook
    pending: AbstractSet[str] = frozenset()

    def enter(self, is_stopped: IsStopped, tell: Tell, name: Name) -> None:
        """Put every file that was planned into the book, by what became of its shard, and all that were named.

        A checkpoint that is damaged is named: audits are made then, of what is left of it.

        Raises:
            NoRoom: the book cannot be written.
        """
        with naming_damage(self.path, name), closing(connect_to_read(self.path)) as db:
            db.execute("BEGIN")  # one moment's state
            self._enter_shards(db, is_stopped, tell)
            self._enter_named(db, is_stopped)

    def _enter_shards(self, db: sqlite3.Connection, is_stopped: IsStopped, tell: Tell) -> None:
        last = 0
        while rows := db.execute(_SHARDS, (last, ShardState.SPLIT, SHARDS_AT_ONCE)).fetchall():
            if is_stopped():
                return
            last = rows[-1][0]
            for _, state, members, crc32c, object_path in rows:
                entries = schema.unpack_members(members, crc32c)
                self.book.add_sent(self.origin, self._fate_of(ShardState(state), object_path), entries)
                tell(len(entries))

    def _fate_of(self, state: ShardState, object_path: str) -> Fate:
        fate = _FATES.get(state, Fate.LEFT)
        is_pending = fate is Fate.SENT and self.pending and not self.pending.isdisjoint(segments_of(object_path))
        return Fate.PENDING if is_pending else fate

    def _enter_named(self, db: sqlite3.Connection, is_stopped: IsStopped) -> None:
        rows = db.execute("SELECT name, root, path, reason, detail FROM failures")
        while not is_stopped() and (some := rows.fetchmany(ROWS_AT_ONCE)):
            files = ((name, root, path, _why(reason, detail)) for name, root, path, reason, detail in some)
            self.book.add_named(self.origin, files)


@dataclass(frozen=True, slots=True)
class IngestAccount:
    """What the checkpoint of an ingest of references records."""

    path: Path
    origin: int
    book: AuditBook

    def enter(self, is_stopped: IsStopped, tell: Tell, name: Name) -> None:
        """Put every reference that was asked for into the book; a checkpoint that is damaged is named.

        Raises:
            NoRoom: the book cannot be written.
        """
        with naming_damage(self.path, name), closing(connect_to_read(self.path)) as db:
            rows = db.execute(_REFERENCES)
            while not is_stopped() and (some := rows.fetchmany(ROWS_AT_ONCE)):
                fates = ((row[0], row[1], _fate(is_lost=row[2], is_accepted=row[3])) for row in some)
                self.book.add_sent_references(self.origin, fates)
                tell(len(some))


@dataclass(frozen=True, slots=True)
class SourceAccount:
    """A source as it is now."""

    source: FileSource
    origin: int
    book: AuditBook
    selection: Selection
    is_scanned: bool = True
    """Whether it can be walked; a list that came by standard input cannot, but what it named can be looked at."""

    def enter(self, is_stopped: IsStopped, tell: Tell, name: Name) -> None:
        """Put every file that can be sent into the book, and name those that cannot.

        Raises:
            SourceError, NotAuthorised, TroublePassing: it cannot be read.
            NoRoom: the book cannot be written.
        """
        for group in self.source.scan() if self.is_scanned else ():
            if is_stopped():
                return
            self.book.add_found(self.origin, group.entries)
            tell(len(group.entries))
            name([self._difference(each) for each in group.refusals if each.reason not in SKIPPED])

    def look(self, file: SentFile) -> Difference | None:
        """Say what is true of a file that the scan has not met, None if it is there as it was sent, or not meant."""
        if not is_meant(chooser_of(self.selection), file.path):
            return None
        size, mtime_ns, inode = (int(number) for number in file.print.split(b":"))
        found = self.source.refresh(Entry(file.root, file.path, file.name, size, mtime_ns, inode))
        if not isinstance(found, Entry):
            reason, detail = found
            if reason is RefusalReason.VANISHED:
                return self._of(DifferenceKind.GONE, file, "sent, and not in the source any more")
            return self._of(DifferenceKind.CHANGED, file, detail)
        now = b"%d:%d:%d" % (found.size, found.mtime_ns, found.inode)
        return None if now == file.print else self._of(DifferenceKind.CHANGED, file, why_changed(file.print, now))

    def _of(self, kind: DifferenceKind, file: SentFile, why: str) -> Difference:
        return Difference(kind, file.name, self._shown(file.root, file.path), why)

    def _difference(self, refusal: Refusal) -> Difference:
        path = self._shown(refusal.root, refusal.path)
        return Difference(DifferenceKind.REFUSED, "", path, _why(refusal.reason, refusal.detail))

    def _shown(self, root: int, path: bytes) -> str:
        return (self.source.roots[root].rstrip(b"/") + b"/" + path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class ReferencesAccount:
    """A list of references, or a bucket's objects that the service fetches, as it is now."""

    references: References
    origin: int
    book: AuditBook

    def enter(self, is_stopped: IsStopped, tell: Tell, name: Name) -> None:
        """Put every reference into the book, and name what cannot be referred to.

        Raises:
            SourceError, NotAuthorised, TroublePassing: it cannot be read.
            NoRoom: the book cannot be written.
        """
        for group in self.references.scan():
            if is_stopped():
                return
            self.book.add_found_references(self.origin, ((each.name, each.mark) for each in group.references))
            tell(len(group.references))
            name(
                [
                    Difference(DifferenceKind.REFUSED, each.name, each.path, _why(each.reason, each.detail))
                    for each in group.refusals
                ]
            )

    def look(self, file: SentFile) -> Difference | None:
        """A reference that the list has not is not there."""
        return Difference(DifferenceKind.GONE, file.name, "", "asked for, and not in the list any more")


def _fate(*, is_lost: bool, is_accepted: bool) -> Fate:
    if is_lost:
        return Fate.FAILED
    return Fate.SENT if is_accepted else Fate.LEFT


@contextmanager
def naming_damage(path: Path, name: Name) -> Iterator[None]:
    """Name a checkpoint that cannot be read, and go on: what it does not tell is found in the other accounts."""
    try:
        yield
    except (sqlite3.Error, CheckpointDamaged) as error:
        why = f"{translated(error).cause}: not all that was sent is known"
        name([Difference(DifferenceKind.DAMAGED, path.stem, str(path), why)])


def is_meant(chooser: Chooser, path: bytes) -> bool:
    """Tell whether a selection takes a file, and enters all folders above it."""
    if chooser.excluded is not None or not chooser.recursive:
        place = path.find(b"/")
        while place >= 0:
            if not chooser.enters(path[:place]):
                return False
            place = path.find(b"/", place + 1)
    return chooser.takes(path)


def _why(reason: str, detail: str) -> str:
    return f"{reason}: {detail}" if detail else str(reason)
