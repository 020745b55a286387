"""The durable record of an export: which remote files were listed, where each lands, and which are here.

One SQLite file in the user's state folder, one writer, never a URL. It survives the death of the process and of the
machine, and is what a repeated export continues from.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from msgspec.structs import replace

from rfbulk.core.exporting import LEFT, Element, ElementState, FailReason, MemberFile, Part, Presence
from rfbulk.edge import export_books as books
from rfbulk.edge import export_listing as listing
from rfbulk.edge import export_schema as schema
from rfbulk.edge.checkpoint_file import connect_to_read, fact, held, newest_first, read_only, set_fact
from rfbulk.edge.export_paths import PathBook
from rfbulk.edge.writer import SqliteWriter, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rfbulk.core.export_report import (
        ExportFailure,
        ExportTotals,
        KeptApart,
        RefusedMember,
    )
    from rfbulk.core.exporting import Listed
    from rfbulk.core.fetching import FetchResult, Fingerprint


@dataclass(frozen=True, slots=True)
class ExportIdentity:
    """Whose export a checkpoint records. Equal identities are the same export, and share one checkpoint."""

    service: str
    workspace: str
    batch: str
    target: str

    @property
    def id(self) -> str:
        """A short name of the checkpoint: the batch, and a digest of all the rest."""
        text = orjson.dumps(["export", self.service, self.workspace, self.batch, self.target])
        return f"{self.batch}-{hashlib.sha256(text).hexdigest()[:10]}"

    @property
    def facts(self) -> dict[str, str]:
        """What the checkpoint says of itself."""
        return {"service": self.service, "workspace": self.workspace, "batch": self.batch, "target": self.target}

    @property
    def staging(self) -> bytes:
        """The folder beneath the target that holds what is not whole yet, this export's alone."""
        return staging_of(self.target, self.id)


def staging_of(target: str, identity: str) -> bytes:
    """Return the staging folder of the export with a checkpoint of this id."""
    return os.fsencode(target) + b"/.rfbulk-" + identity.rpartition("-")[2].encode()


class ExportCheckpoint:
    """An open checkpoint. Made by `open_export_checkpoint`; every change is durable when the call returns."""

    def __init__(self, path: Path, writer: SqliteWriter) -> None:
        self.path = path
        self._writer = writer
        self._paths = PathBook()
        self._run = 0
        self._known: frozenset[int] = frozenset()  # parts that earlier runs have listed

    async def fact(self, name: str) -> str | None:
        """Return a fact by name, None if it was never recorded."""
        return await self._writer.run(lambda db: fact(db, name))

    async def record_fact(self, name: str, value: str) -> None:
        """Record a fact, replacing its earlier value."""
        await self._writer.run(lambda db: set_fact(db, name, value))

    async def begin_run(self, reserved: Sequence[str] = ()) -> int:
        """Make ready for another run and return its number. `reserved` are paths that no remote file may take."""

        def work(db: sqlite3.Connection) -> int:
            self._paths.reserve(db, reserved)
            run = int(fact(db, "run") or 0) + 1
            set_fact(db, "run", str(run))
            return run

        self._known = frozenset()
        self._run = await self._writer.run(work)
        return self._run

    async def parts(self, names: Sequence[str]) -> list[Part]:
        """Return the parts of these names, each with a folder of its own. Without any: the batch itself, number 0."""
        if not names:
            return [Part(0, "", "")]
        return await self._writer.run(lambda db: [_part(db, self._paths, name) for name in names])

    async def is_of_batch(self, path: str) -> bool:
        """Tell whether a path beneath the target is one of the batch's own files."""
        sql = "SELECT 1 FROM elements WHERE path = ?1 UNION ALL SELECT 1 FROM members WHERE path = ?1 LIMIT 1"
        return await self._writer.run(lambda db: db.execute(sql, (path,)).fetchone() is not None)

    async def begin_parts(self, parts: Sequence[Part], *, overwrite: bool) -> int:
        """Have what failed in these parts tried again, with `overwrite` everything. Before their first page is taken.

        Returns how many remote files of them are known.
        """
        counts = await self._writer.run(lambda db: _begin_parts(db, _numbers(parts), overwrite=overwrite))
        self._known |= frozenset(counts)
        return sum(counts.values())

    # listings

    async def take_page(self, part: Part, listed: Sequence[Listed]) -> tuple[list[Element], int]:
        """Record what a page lists and return it in the same order: known ones as they stand, new ones with a path.

        The number is how many are new.
        """
        run, is_new = self._run, part.number not in self._known
        return await self._writer.run(lambda db: listing.take_page(db, self._paths, part, listed, run, is_new=is_new))

    async def end_part(self, part: Part) -> int:
        """Take note that all of a part was listed. What it does not list any more and is not here has failed.

        Returns how many those are.
        """
        run = self._run
        return await self._writer.run(lambda db: listing.end_part(db, part.number, run))

    # what becomes of them

    async def record_fetched(self, fetched: Sequence[tuple[Element, FetchResult]]) -> None:
        """Record plain files that have landed."""
        values = [_fetched_values(element, result, self._run) for element, result in fetched]
        await self._writer.run(lambda db: _executemany(db, _FETCHED, values))

    async def record_failed(self, failed: Sequence[tuple[Element, FailReason, str]]) -> None:
        """Record remote files that are named instead."""
        values = [(ElementState.FAILED, reason, detail, element.id) for element, reason, detail in failed]
        sql = "UPDATE elements SET state = ?, why = ?, detail = ? WHERE id = ?"
        await self._writer.run(lambda db: _executemany(db, sql, values))

    async def restore(self, lost: Sequence[tuple[Element, Presence]]) -> None:
        """Record that files that were fetched are not here as they were left: they are to be fetched again."""
        values = [(ElementState.LISTED, self._run, presence, element.id) for element, presence in lost]
        sql = "UPDATE elements SET state = ?, restored = ?, why = ? WHERE id = ?"
        await self._writer.run(lambda db: _executemany(db, sql, values))

    async def choose_other(self, element: Element) -> str:
        """Give a remote file another path, since a foreign file lies at its own, and return it."""

        def work(db: sqlite3.Connection) -> str:
            path = self._paths.take(db, listing.own_path(db, element))
            db.execute("UPDATE elements SET path = ?, is_apart = 1 WHERE id = ?", (path, element.id))
            return path

        return await self._writer.run(work)

    # archives

    async def plan_members(self, element: Element, result: FetchResult) -> list[MemberFile]:
        """Record that an archive is whole in staging, and where its members are to land."""
        return await self._writer.run(lambda db: listing.plan_members(db, self._paths, element, result))

    async def members(self, elements: Sequence[Element]) -> list[list[MemberFile]]:
        """Return the members of archives, in their order."""
        return await self._writer.run(lambda db: [listing.members_of(db, element.id) for element in elements])

    async def choose_others(self, element: Element, members: Sequence[MemberFile]) -> list[MemberFile]:
        """Give members other paths, since foreign files lie at their own, and return them so."""

        def work(db: sqlite3.Connection) -> list[MemberFile]:
            moved = [
                replace(member, path=self._paths.take(db, listing.member_path(element, member.name)))
                for member in members
            ]
            sql = "UPDATE members SET path = ?, is_apart = 1 WHERE element = ? AND number = ?"
            db.executemany(sql, [(member.path, element.id, member.number) for member in moved])
            return moved

        return await self._writer.run(work)

    async def record_landed(self, element: Element, fingerprints: Mapping[int, Fingerprint]) -> None:
        """Record that all members of an archive have landed, by their numbers."""
        values = [
            (print_.mtime_ns, schema.signed(print_.inode), element.id, number)
            for number, print_ in fingerprints.items()
        ]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("UPDATE members SET mtime_ns = ?, inode = ? WHERE element = ? AND number = ?", values)
            sql = "UPDATE elements SET state = ?, run = ?, why = '', detail = '' WHERE id = ?"
            db.execute(sql, (ElementState.FETCHED, self._run, element.id))

        await self._writer.run(work)

    async def unstage(self, element: Element) -> None:
        """Record that what was staged of an archive is lost, so that it is to be fetched again to the same places."""
        sql = "UPDATE elements SET state = ? WHERE id = ?"
        await self._writer.run(lambda db: _executemany(db, sql, [(ElementState.LISTED, element.id)]))

    async def landing(self, parts: Sequence[Part]) -> list[Element]:
        """Return the archives that an earlier run left between staging and landing."""
        sql = f"SELECT {schema.COLUMNS} FROM elements WHERE state = ? AND part IN ({_numbers(parts)}) ORDER BY id"  # noqa: S608 - numbers
        return await self._writer.run(
            lambda db: [schema.element_from(row) for row in db.execute(sql, (ElementState.LANDING,))]
        )

    # the books

    async def totals(self, parts: Sequence[Part]) -> ExportTotals:
        """Return the books of these parts so far."""
        return await self._writer.run(lambda db: books.totals(db, _numbers(parts), self._run))

    async def failures(self, parts: Sequence[Part], limit: int) -> list[ExportFailure]:
        """Name remote files that have failed."""
        return await self._writer.run(lambda db: books.failures(db, _numbers(parts), limit))

    async def restored(self, parts: Sequence[Part], limit: int) -> list[str]:
        """Name files that this run found deleted or changed, and fetched again or is still to."""
        return await self._writer.run(lambda db: books.restored(db, _numbers(parts), self._run, limit))

    async def unverified(self, parts: Sequence[Part], limit: int) -> list[str]:
        """Name files that nothing but their own word says to be whole."""
        return await self._writer.run(lambda db: books.unverified(db, _numbers(parts), limit))

    async def kept_apart(self, parts: Sequence[Part], limit: int) -> list[KeptApart]:
        """Name files that landed under another name than their own."""
        return await self._writer.run(lambda db: books.kept_apart(db, _numbers(parts), limit))

    async def refused_members(self, parts: Sequence[Part], limit: int) -> list[RefusedMember]:
        """Name members of archives that were left out."""
        return await self._writer.run(lambda db: books.refused_members(db, _numbers(parts), limit))

    def read(self) -> sqlite3.Connection:
        """Open a further connection that only reads, for the calling thread. The caller closes it.

        Raises:
            CheckpointDamaged: it cannot be opened.
        """
        return read_only(self.path)


@contextmanager
def open_export_checkpoint(
    folder: Path, identity: ExportIdentity, *, restart: bool = False
) -> Iterator[ExportCheckpoint]:
    """Open or create the checkpoint of an export in `folder`, and hold it against other processes.

    With `restart`, what an earlier run recorded is discarded first. Blocks on the disk: call it in a thread.

    Raises:
        CheckpointBusy, CheckpointDamaged, NoRoom, UsageError: as `checkpoint_file.held`.
    """
    with held(folder, identity.id, schema.SHAPE, identity.facts, restart=restart) as (path, writer):
        yield ExportCheckpoint(path, writer)


_OURS: Final = -1
"""In the place of the run that found a file lost: it was here, and is fetched anew because that was asked for."""

_FETCHED: Final = (
    "UPDATE elements SET state = ?, size = ?, crc32c = ?, checked = ?, mtime_ns = ?, inode = ?, run = ?, why ="
    " CASE restored WHEN ? THEN why ELSE '' END, detail = '' WHERE id = ?"
)


def _fetched_values(element: Element, result: FetchResult, run: int) -> tuple[Any, ...]:
    mark = result.fingerprint
    if mark is None:
        raise AssertionError("a plain file that was fetched has landed")
    what = ElementState.FETCHED, mark.size, result.crc32c, result.check
    return *what, mark.mtime_ns, schema.signed(mark.inode), run, run, element.id


def _executemany(db: sqlite3.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> None:
    db.executemany(sql, values)


def _numbers(parts: Sequence[Part]) -> str:
    return ",".join(str(part.number) for part in parts)


def _begin_parts(db: sqlite3.Connection, numbers: str, *, overwrite: bool) -> dict[int, int]:
    where = f"state = ? AND part IN ({numbers})"
    again = "UPDATE elements SET state = ?, why = '', detail = ''"
    db.execute(f"{again} WHERE {where}", (ElementState.LISTED, ElementState.FAILED))
    if overwrite:
        # What is here of them is ours: it may be replaced also by a later run that overwrites nothing else.
        states = [(ElementState.LISTED, _OURS, state) for state in (ElementState.FETCHED, ElementState.LANDING)]
        db.executemany(f"{again}, restored = ? WHERE {where}", states)
    return dict(db.execute(f"SELECT part, count(*) FROM elements WHERE part IN ({numbers}) GROUP BY part").fetchall())  # noqa: S608


def _part(db: sqlite3.Connection, paths: PathBook, name: str) -> Part:
    row = db.execute("SELECT id, folder FROM parts WHERE name = ?", (name,)).fetchone()
    if row is None:
        folder = paths.take_folder(db, listing.safe_name(name))
        row = db.execute(
            "INSERT INTO parts (name, folder) VALUES (?, ?) RETURNING id, folder", (name, folder)
        ).fetchone()
    return Part(row[0], name, row[1])


def export_summaries(folder: Path) -> list[dict[str, Any]]:
    """Describe every checkpoint in a folder, newest first: id, facts, counts, or the error that hides them."""
    return [summary_of(path) for path in newest_first(folder)]


def summary_of(path: Path) -> dict[str, Any]:
    """Describe one checkpoint, whoever works on it: id, facts, counts, or the error that hides them."""
    summary: dict[str, Any] = {
        "id": path.stem, "kind": "export", "path": str(path), "modified": path.stat().st_mtime
    }  # fmt: skip
    try:
        with closing(connect_to_read(path)) as db:
            facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
            numbers = ",".join(str(row[0]) for row in db.execute("SELECT DISTINCT part FROM elements"))
            totals = books.totals(db, numbers, int(facts.get("run", 0)))
    except (sqlite3.Error, ValueError) as error:
        return summary | {"error": translated(error).cause}
    return summary | {
        "service": facts.get("service", ""),
        "workspace": facts.get("workspace", ""),
        "batch": facts.get("batch", ""),
        "target": facts.get("target", ""),
        "files_here": totals.files,
        "bytes_here": totals.bytes,
        "left": totals.count(LEFT),
        "failures": totals.count(frozenset({ElementState.FAILED})),
        "listing_finished": facts.get("listing_finished") == "yes",
    }
