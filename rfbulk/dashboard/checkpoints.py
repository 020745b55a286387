"""What all checkpoints of this machine come to, as the page lists them, and how fast those go that are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rfbulk.dashboard.cells import PLACES, Place

WINDOW_SECONDS: Final = 15.0
MOST_LISTED: Final = 500
_UNDER_WAY: Final = frozenset({"granted", "landing"})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint. `done`, `left` and `failed` count `unit`; rates are of the last seconds, while it is held."""

    id: str
    kind: str
    batch: str
    state: str
    holder: str
    used: float
    where: tuple[str, ...]
    unit: str
    done: int = 0
    left: int = 0
    failed: int = 0
    bytes: int = 0
    is_counted: bool = True
    workspace: str = ""
    service: str = ""
    error: str = ""
    items_rate: float = 0.0
    bytes_rate: float = 0.0


def row_of(summary: dict[str, Any], state: str) -> Row:
    """Return a summary as a row."""
    kind, is_video = summary["kind"], summary.get("road", "").endswith("videos")
    unit = {"upload": "videos" if is_video else "images", "export": "files", "ingest": "references"}[kind]
    return Row(
        id=summary["id"],
        kind=kind,
        batch=summary.get("batch", ""),
        state=state,
        holder=summary["holder"],
        used=float(summary["modified"]),
        where=tuple(summary.get("sources", [summary.get("target", "")])),
        unit=unit,
        done=summary.get("images_sent", summary.get("files_here", summary.get("sent", 0))),
        left=summary.get("images_left", summary.get("left", 0)),
        failed=summary.get("failures", 0),
        bytes=summary.get("bytes_sent", summary.get("bytes_here", 0)),
        is_counted=bool(summary.get("scan_finished", summary.get("listing_finished", True))),
        workspace=summary.get("workspace", ""),
        service=summary.get("service", ""),
        error=summary.get("error", ""),
    )


class Shelf:
    """The picture of all checkpoints. `put` it anew as they change."""

    def __init__(self, version: str) -> None:
        self.revision = 0
        self._version = version
        self._now = 0.0
        self._rows: list[Row] = []
        self._seen: dict[str, deque[tuple[float, int, int]]] = {}

    def put(self, rows: Iterable[Row], now: float) -> None:
        """Take what was read at `now`, the one used last first."""
        rated = [self._rated(row, now) for row in rows]
        self._seen = {row.id: self._seen[row.id] for row in rated}
        if rated != self._rows or not self.revision:
            self._rows, self._now = rated, now
            self.revision += 1

    def whole(self) -> dict[str, Any]:
        """Return all of it: it is small."""
        shown = self._rows[:MOST_LISTED]
        return {
            "version": self._version,
            "now": self._now,
            "total": len(self._rows),
            "rows": msgspec.to_builtins(shown),
        }

    def changes(self) -> dict[str, Any]:
        """Return the same: nothing is left out between two frames."""
        return self.whole()

    def _rated(self, row: Row, now: float) -> Row:
        points = self._seen.setdefault(row.id, deque())
        if not row.holder:
            points.clear()
            return row
        if not points or points[-1][1:] != (row.done, row.bytes) or now - points[-1][0] >= WINDOW_SECONDS / 5:
            points.append((now, row.done, row.bytes))
        while len(points) > 2 and now - points[0][0] > WINDOW_SECONDS:
            points.popleft()
        (began, items, moved), (ended, items_now, moved_now) = points[0], points[-1]
        if ended <= began:
            return row
        seconds = ended - began
        return msgspec.structs.replace(
            row, items_rate=max(0, items_now - items) / seconds, bytes_rate=max(0, moved_now - moved) / seconds
        )


def cells_of(detail: dict[str, Any], *, is_held: bool) -> dict[str, Any]:
    """Return the map of one checkpoint as the page draws it. What nobody works on is not being sent."""
    found: dict[int, list[int]] = {}
    for cell, state, count in detail.get("cells", []):
        place = Place.SENDING if is_held and state in _UNDER_WAY else PLACES.get(state)
        if place is None:
            continue
        found.setdefault(cell, [0] * len(Place))[place] += count
    totals = [sum(counts[place] for counts in found.values()) for place in Place]
    return {
        "shards": detail.get("shards", 0),
        "per_cell": detail.get("per_cell", 1),
        "totals": totals,
        "cells": [[cell, *counts] for cell, counts in sorted(found.items())],
    }
