"""The report file of an ingest: a summary, then every reference by its name and its fate. Never a URL."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio.to_thread
import orjson

from rfbulk.core.model import RefusalReason
from rfbulk.edge.reportfile import NamedFiles, failure_line, summary_of, write_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.ingesting import NamedReference, ReferenceGroup
    from rfbulk.core.references import Reference
    from rfbulk.edge.ingest_checkpoint import IngestCheckpoint

_AT_ONCE: Final = 1000


class PlacedSource(Protocol):
    """A source of references that can tell where each is."""

    def scan(self) -> Iterator[ReferenceGroup]: ...  # noqa: D102 - as pipeline.ingest_ports.ReferenceSource
    def urls_of(self, references: Sequence[Reference]) -> Sequence[str]: ...  # noqa: D102

    def place_of(self, reference: Reference) -> str:
        """Return where it is, "" if that may not be told."""


class SeenReferences:
    """Gives what a source gives, and keeps on disk what was seen and where it is: a checkpoint keeps names alone.

    Its methods block on the disk, and are called one at a time, from any thread.
    """

    def __init__(self, source: PlacedSource) -> None:
        self._source = source
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # goes away when it is closed
        self._db.execute("PRAGMA journal_mode = OFF").fetchall()
        self._db.execute("CREATE TABLE seen (name TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID")

    def close(self) -> None:
        """Forget all."""
        self._db.close()

    def scan(self) -> Iterator[ReferenceGroup]:
        """As the source does."""
        for group in self._source.scan():
            self._db.execute("BEGIN")
            rows = ((each.name, self._source.place_of(each)) for each in group.references)
            self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
            yield group

    def urls_of(self, references: Sequence[Reference]) -> Sequence[str]:
        """As the source does."""
        return self._source.urls_of(references)

    def place_of(self, reference: Reference) -> str:
        """As the source does."""
        return self._source.place_of(reference)

    def places_of(self, names: Sequence[str]) -> list[str]:
        """Return where references are, "" for those that were not seen."""
        sql = "SELECT place FROM seen WHERE name = ?"
        rows = (self._db.execute(sql, (name,)).fetchone() for name in names)
        return [row[0] if row else "" for row in rows]

    def seen_behind(self, name: str) -> list[tuple[str, str]]:
        """Return names and places, a thousand at a time in the order of the names, from behind `name`."""
        sql = "SELECT name, place FROM seen WHERE name > ? ORDER BY name LIMIT ?"
        return self._db.execute(sql, (name, _AT_ONCE)).fetchall()


async def write_ingest_report_file(
    path: Path, checkpoint: IngestCheckpoint, seen: SeenReferences, report: IngestReport, named: NamedFiles
) -> None:
    """Write the report file; it appears whole or not at all. `named` are those that this run named.

    Raises:
        UsageError, NoRoom: it cannot be written.
    """
    await write_lines(path, summary_of(report), _lines(checkpoint, seen, report, named))


async def _lines(
    checkpoint: IngestCheckpoint, seen: SeenReferences, report: IngestReport, named: NamedFiles
) -> AsyncIterator[bytes]:
    last, failed = "", dict(report.failed_files)
    while group := await checkpoint.named_behind(last):
        last = group[-1].name
        places = await anyio.to_thread.run_sync(seen.places_of, [each.name for each in group])
        fates = (_fate_of(each, failed, is_confirmed=report.is_confirmed) for each in group)
        lines = (
            _line(place, each.name, fate, each.ingest_id)
            for place, each, fate in zip(places, group, fates, strict=True)
        )
        yield b"".join(lines)
    last = ""
    while rows := await anyio.to_thread.run_sync(seen.seen_behind, last):
        last = rows[-1][0]
        asked = await checkpoint.has([name for name, _ in rows])
        yield b"".join(_line(place, name, {"fate": "left"}) for name, place in rows if name not in asked)
    for failures in named.groups():
        # what was lost, the checkpoint holds
        yield b"".join(failure_line(each) for each in failures if each.reason != RefusalReason.VANISHED)


def _fate_of(reference: NamedReference, failed: dict[str, str], *, is_confirmed: bool) -> dict[str, str]:
    if reference.is_lost:
        return {"fate": RefusalReason.VANISHED, "why": "it left the source before the service had accepted it"}
    if not reference.is_accepted:
        return {"fate": "left"}
    if reference.name in failed:
        return {"fate": RefusalReason.REFUSED_BY_SERVICE, "why": failed[reference.name]}
    return {"fate": "indexed" if is_confirmed else "accepted"}


def _line(place: str, name: str, fate: dict[str, str], ingest_id: str = "") -> bytes:
    values: dict[str, Any] = ({"path": place} if place else {}) | {"name": name}
    values |= ({"ingest": ingest_id} if ingest_id else {}) | fate
    return orjson.dumps(values) + b"\n"
