"""The chronicle as the page draws it: whole for who comes anew, and what has changed since for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from rfbulk.dashboard.books import books_of, remarks_of
from rfbulk.events import ExportProgress, IngestProgress, UploadProgress

if TYPE_CHECKING:
    from rfbulk.dashboard.chronicle import Chronicle, Progress

MOST_TROUBLES_SHOWN: Final = 30


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a command says of itself. Nothing secret may be in it."""

    command: str
    line: str
    version: str
    began: float
    folder: str = ""
    settings: tuple[tuple[str, str], ...] = ()


class Painter:
    """Paints one chronicle, in numbered frames. Not for threads."""

    def __init__(self, chronicle: Chronicle, about: About) -> None:
        self._chronicle = chronicle
        self._about = about
        self._halvings = 0
        self._buckets = 0
        self._named = 0
        self._map: object = None
        self._per_cell = 0

    @property
    def revision(self) -> int:
        """A number that rises with each change."""
        return self._chronicle.revision

    def whole(self) -> dict[str, Any]:
        """Return all that there is to see. What `changes` gives next is still what changed since its last call."""
        chronicle = self._chronicle
        return {
            "about": msgspec.to_builtins(self._about),
            **_present(chronicle),
            "series": _series(chronicle, 0, is_whole=True),
            "map": _map(chronicle, range(chronicle.map.cells), is_whole=True),
            "named": {"from": 0, "files": msgspec.to_builtins(chronicle.named)},
        }

    def changes(self) -> dict[str, Any]:
        """Return what is different since the last call."""
        chronicle = self._chronicle
        series, cells = chronicle.series, chronicle.map
        is_other_scale = series.halvings != self._halvings
        since = 0 if is_other_scale else min(series.changed_from, self._buckets)
        is_other_map = cells is not self._map or cells.per_cell != self._per_cell
        changed = range(cells.cells) if is_other_map else sorted(cells.changed)
        found = {
            **_present(chronicle),
            "series": _series(chronicle, since, is_whole=is_other_scale),
            "map": _map(chronicle, changed, is_whole=is_other_map),
            "named": {"from": self._named, "files": msgspec.to_builtins(chronicle.named[self._named :])},
        }
        self._halvings, self._buckets, self._named = series.halvings, len(series.buckets), len(chronicle.named)
        self._map, self._per_cell = cells, cells.per_cell
        cells.changed.clear()
        series.changed_from = len(series.buckets)
        return found


def _series(chronicle: Chronicle, since: int, *, is_whole: bool) -> dict[str, Any]:
    series = chronicle.series
    buckets = msgspec.to_builtins(series.buckets[since:])
    return {"step": series.step_seconds, "until": series.until, "whole": is_whole, "from": since, "buckets": buckets}


def _map(chronicle: Chronicle, changed: Any, *, is_whole: bool) -> dict[str, Any]:
    cells = chronicle.map
    return {
        "whole": is_whole,
        "shards": len(cells),
        "per_cell": cells.per_cell,
        "totals": cells.totals(),
        "cells": [[index, *cells.counts(index)] for index in changed if index < cells.cells],
    }


def _present(chronicle: Chronicle) -> dict[str, Any]:
    """What is told anew in each frame: none of it grows."""
    return {
        "now": chronicle.now,
        "stopping": chronicle.is_stopping,
        "ending": msgspec.to_builtins(chronicle.ending),
        "phases": msgspec.to_builtins(chronicle.phases),
        "steps": msgspec.to_builtins(chronicle.steps),
        "transfers": msgspec.to_builtins(chronicle.transfers),
        "progress": _progress(chronicle.progress),
        "rate": chronicle.rate,
        "left": chronicle.time_left,
        "confirm": msgspec.to_builtins(chronicle.confirm),
        "jobs": [
            {"job": job, "stages": msgspec.to_builtins([stages[key] for key in sorted(stages)])}
            for job, stages in chronicle.jobs.items()
        ],
        "retries": dict(chronicle.retries.most_common()),
        "reasons": dict(chronicle.reasons.most_common()),
        "troubles": msgspec.to_builtins(list(chronicle.troubles)[-MOST_TROUBLES_SHOWN:]),
        "remarks": [remark for report in chronicle.reports for remark in remarks_of(report)],
        "books": msgspec.to_builtins([books for report in chronicle.reports for books in books_of(report)]),
    }


def _progress(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    kinds = {UploadProgress: "upload", ExportProgress: "export", IngestProgress: "ingest"}
    values: dict[str, Any] = msgspec.to_builtins(progress)
    return {"kind": kinds[type(progress)]} | values
