"""What all checkpoints of this machine say, read while others write them: never a lock, never a write, never for long.

Blocks on the disk: call it in a thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from rfbulk.core.exporting import ElementState
from rfbulk.core.transfer import ShardState
from rfbulk.edge.checkpoint import summary_of as upload_summary
from rfbulk.edge.checkpoint_file import SUFFIX, connect_to_read
from rfbulk.edge.export_checkpoint import summary_of as export_summary
from rfbulk.edge.ingest_checkpoint import summary_of as ingest_summary
from rfbulk.edge.locks import holder_of
from rfbulk.edge.writer import translated

if TYPE_CHECKING:
    from pathlib import Path

SUMMARIES: Final[Mapping[str, Callable[[Path], dict[str, Any]]]] = {
    "upload": upload_summary,
    "ingest": ingest_summary,
    "export": export_summary,
}
REST: Final = 10
"""A checkpoint that took a second to be read is let alone for so many: its disk is needed for the transfer."""

MOST_NAMED: Final = 200
MOST_DRAWN: Final = 4_000_000
"""Shards, or remote files, beyond which no map is drawn: it would be read for seconds."""


@dataclass(slots=True)
class _Read:
    mark: tuple[int, ...]
    summary: dict[str, Any]
    at: float
    seconds: float


class Overview:
    """Reads the summaries of all checkpoints, each again only once it has changed. Not for several threads at once."""

    def __init__(self, folders: Mapping[str, Path], now: Callable[[], float] = time.monotonic) -> None:
        self._folders = folders
        self._now = now
        self._known: dict[Path, _Read] = {}

    def read(self) -> list[dict[str, Any]]:
        """Return a summary of each, the one used last first, with its `kind` and the process that is its `holder`."""
        known: dict[Path, _Read] = {}
        for kind, folder in self._folders.items():
            for path in folder.glob(f"*{SUFFIX}"):
                with suppress(FileNotFoundError):  # it was forgotten meanwhile
                    known[path] = self._read_one(kind, path)
        self._known = known
        found = [
            read.summary | {"holder": holder_of(path.with_suffix(".lock")), "modified": _used(read.mark)}
            for path, read in known.items()
        ]
        return sorted(found, key=lambda summary: float(summary["modified"]), reverse=True)

    def _read_one(self, kind: str, path: Path) -> _Read:
        mark, before = _mark_of(path), self._known.get(path)
        if before is not None:
            is_resting = self._now() - before.at < REST * before.seconds
            if before.mark == mark or is_resting:
                return before
        began = self._now()
        summary = {"kind": kind} | SUMMARIES[kind](path)
        return _Read(mark, summary, self._now(), self._now() - began)


def _mark_of(path: Path) -> tuple[int, ...]:
    """What changes with every commit: times and sizes of the file and of its log. Looking makes an empty log."""
    status = path.stat()
    found = [status.st_mtime_ns, status.st_size]
    with suppress(FileNotFoundError):
        log = os.stat(f"{path}-wal")
        found += [log.st_mtime_ns, log.st_size] if log.st_size else []
    return tuple(found)


def _used(mark: tuple[int, ...]) -> float:
    return max(mark[::2]) / 1e9


def details(kind: str, path: Path, most_cells: int) -> dict[str, Any]:
    """Return what one checkpoint holds besides its summary: a map of states, and failures by reason and by name.

    `cells` are rows of (number of the cell, state, how many), `per_cell` to a cell. Of an ingest there are none.
    """
    try:
        with closing(connect_to_read(path)) as db:
            return {"upload": _of_upload, "export": _of_export, "ingest": _of_ingest}[kind](db, most_cells)
    except (sqlite3.Error, ValueError) as error:
        return {"error": translated(error).cause}


def _of_upload(db: sqlite3.Connection, most_cells: int) -> dict[str, Any]:
    sources = orjson.loads((db.execute("SELECT value FROM facts WHERE name = 'sources'").fetchone() or ("[]",))[0])
    sql = "SELECT root, path, name, reason, detail FROM failures LIMIT ?"
    files = [
        {"path": _shown(sources, root, bytes(path)) or name, "reason": reason, "detail": detail}
        for root, path, name, reason, detail in db.execute(sql, (MOST_NAMED,))
    ]
    reasons = dict(db.execute("SELECT reason, count(*) FROM failures GROUP BY reason").fetchall())
    return _cells(db, "shards", ShardState, most_cells) | {"files": files, "reasons": reasons}


def _shown(sources: list[str], root: int, path: bytes) -> str:
    inner = path.decode("utf-8", "backslashreplace")
    return os.path.join(sources[root], inner) if 0 <= root < len(sources) else inner


def _of_export(db: sqlite3.Connection, most_cells: int) -> dict[str, Any]:
    sql = "SELECT name, why, detail FROM elements WHERE state = ? LIMIT ?"
    failed = int(ElementState.FAILED)
    files = [
        {"path": name, "reason": why, "detail": detail} for name, why, detail in db.execute(sql, (failed, MOST_NAMED))
    ]
    sql = "SELECT why, count(*) FROM elements WHERE state = ? GROUP BY why"
    reasons = dict(db.execute(sql, (failed,)).fetchall())
    return _cells(db, "elements", ElementState, most_cells) | {"files": files, "reasons": reasons}


def _of_ingest(db: sqlite3.Connection, _most_cells: int) -> dict[str, Any]:
    names = db.execute("SELECT name FROM names WHERE is_lost LIMIT ?", (MOST_NAMED,))
    files = [{"path": row[0], "reason": "lost", "detail": ""} for row in names]
    lost = db.execute("SELECT count(*) FROM names WHERE is_lost").fetchone()[0]
    return {"cells": [], "per_cell": 1, "shards": 0, "files": files, "reasons": {"lost": lost} if lost else {}}


def _cells(
    db: sqlite3.Connection, table: str, states: type[ShardState | ElementState], most_cells: int
) -> dict[str, Any]:
    last = db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608 - names of ours
    if last > MOST_DRAWN:
        return {"cells": [], "per_cell": 1, "shards": last}
    per_cell = 1
    while -(-last // per_cell) > most_cells:
        per_cell *= 2
    sql = f"SELECT (id - 1) / ?, state, count(*) FROM {table} GROUP BY 1, 2"  # noqa: S608 - as above
    rows = [[cell, states(state).name.lower(), count] for cell, state, count in db.execute(sql, (per_cell,))]
    return {"cells": rows, "per_cell": per_cell, "shards": last}


def states_of_upload(folder: Path, batch: str) -> dict[int, ShardState]:
    """Return where the shards stand of the upload into `batch` that this process holds; none if it holds none."""
    mine = f"process {os.getpid()} "
    for path in folder.glob(f"{batch}-*{SUFFIX}"):
        if holder_of(path.with_suffix(".lock")).startswith(mine):
            with suppress(sqlite3.Error), closing(connect_to_read(path)) as db:
                rows = db.execute("SELECT id, state FROM shards WHERE id <= ?", (MOST_DRAWN,))
                return {number: ShardState(state) for number, state in rows}
    return {}
