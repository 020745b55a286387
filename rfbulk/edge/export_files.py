"""What an export leaves beside its files: the manifest, and the report file. Both are read from the checkpoint.

The manifest has a JSON object a line for each file on the disk: where it lies, where it is from, by what it was found
whole. The report file has a summary first, then each remote file with its fate. Neither ever holds a URL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from rfbulk.core.exporting import ElementState
from rfbulk.core.fetching import FetchKind
from rfbulk.edge.wholefile import whole_file
from rfbulk.edge.writer import translated

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport
    from rfbulk.edge.export_checkpoint import ExportCheckpoint

_PART: Final = "coalesce((SELECT parts.name FROM parts WHERE parts.id = elements.part), '')"
_HERE: Final = f"elements.state = {int(ElementState.FETCHED)}"
_PLAIN: Final = f"elements.kind = '{FetchKind.PLAIN}'"

_ON_DISK: Final = (
    f"SELECT elements.id AS element, -1 AS number, {_PART}, shard, name, NULL, path, size, crc32c, checked"  # noqa: S608 - constants
    f" FROM elements WHERE {_HERE} AND {_PLAIN}"
    f" UNION ALL SELECT elements.id, members.number, {_PART}, shard, elements.name, members.name, members.path,"
    f" members.size, members.crc32c, checked FROM members JOIN elements ON elements.id = members.element"
    f" WHERE {_HERE} ORDER BY 1, 2"
)
_FATES: Final = {
    ElementState.LISTED: "left",
    ElementState.LANDING: "left",
    ElementState.FETCHED: "fetched",
    ElementState.FAILED: "failed",
}


def write_manifest(path: Path, checkpoint: ExportCheckpoint, batch: str) -> None:
    """Write the manifest of all that is on the disk. Blocks on the disk.

    Raises:
        UsageError, NoRoom: it cannot be written.
        CheckpointDamaged: the checkpoint cannot be read.
    """
    with whole_file(path, "--manifest") as file, closing(checkpoint.read()) as db:
        for _, _, part, shard, name, member, where, size, crc32c, checked in _rows(db, _ON_DISK):
            line = {"path": where, "batch": batch, "part": part or None, "shard": shard or None, "name": name}
            if member is not None:
                line["member"] = member
            checksum = None if crc32c is None else f"{crc32c:08x}"
            file.write(orjson.dumps(line | {"size": size, "crc32c": checksum, "checked": checked}) + b"\n")


def write_export_report_file(path: Path, checkpoint: ExportCheckpoint, report: ExportReport) -> None:
    """Write the report file. Blocks on the disk.

    Raises:
        UsageError, NoRoom: it cannot be written.
        CheckpointDamaged: the checkpoint cannot be read.
    """
    sql = f"SELECT run, {_PART}, shard, name, state, path, size, restored, why, detail FROM elements ORDER BY id"  # noqa: S608 - constants
    with whole_file(path, "--report") as file, closing(checkpoint.read()) as db:
        file.write(orjson.dumps({"summary": export_summary_of(report)}) + b"\n")
        last = db.execute("SELECT value FROM facts WHERE name = 'run'").fetchone()
        for row in _rows(db, sql):
            file.write(orjson.dumps(_fate_of(row, int(last[0]) if last else 0)) + b"\n")


def export_summary_of(report: ExportReport) -> dict[str, Any]:
    """Return the report's numbers, without the files that it names."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    return {name: value for name, value in values.items() if name != "failures" and not name.endswith("_files")}


def files_on_disk(db: sqlite3.Connection, parts: Sequence[str], suffix: str) -> Iterator[str]:
    """Give the paths of all files of these parts (none named: of the batch itself) that end so, in order."""
    wanted = frozenset(parts or [""])
    for row in _rows(db, _ON_DISK):
        if row[2] in wanted and str(row[6]).lower().endswith(suffix):
            yield str(row[6])


def _fate_of(row: tuple[Any, ...], last: int) -> dict[str, Any]:
    run, part, shard, name, state, path, size, restored, why, detail = row
    fate = "here" if state == ElementState.FETCHED and run < last else _FATES[ElementState(state)]
    line = {"part": part or None, "shard": shard or None, "name": name, "path": path or None, "fate": fate}
    if state == ElementState.FETCHED:
        line["bytes"] = size
    if restored == last:
        line["restored"] = True
    return line | {key: value for key, value in (("why", why), ("detail", detail)) if value}


def _rows(db: sqlite3.Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    try:
        yield from db.execute(sql)
    except sqlite3.Error as error:
        raise translated(error) from error
