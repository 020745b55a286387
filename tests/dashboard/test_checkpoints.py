from __future__ import annotations

from typing import Any

from rfbulk.dashboard.cells import Place
from rfbulk.dashboard.checkpoints import MOST_LISTED, Row, Shelf, cells_of, row_of

UPLOAD: dict[str, Any] = {
    "id": "spring-1", "kind": "upload", "batch": "spring", "holder": "process 1 on here", "modified": 5.0,
    "sources": ["/photos"], "road": "upload-images", "images_sent": 10, "images_left": 90, "failures": 1,
    "bytes_sent": 1000, "scan_finished": False, "workspace": "work", "service": "https://a",
}  # fmt: skip
EXPORT: dict[str, Any] = {
    "id": "results-1", "kind": "export", "batch": "results", "holder": "", "modified": 4.0, "target": "/here",
    "files_here": 5, "bytes_here": 50, "left": 1, "failures": 0, "listing_finished": True,
}  # fmt: skip


def test_each_kind_becomes_a_row() -> None:
    upload, export = row_of(UPLOAD, "unfinished"), row_of(EXPORT, "unfinished")
    assert (upload.unit, upload.done, upload.left, upload.where) == ("images", 10, 90, ("/photos",))
    assert not upload.is_counted
    assert (export.unit, export.done, export.left, export.where) == ("files", 5, 1, ("/here",))
    videos = row_of(UPLOAD | {"road": "upload-videos"}, "sent")
    ingest = row_of(UPLOAD | {"kind": "ingest", "sent": 3, "left": 2}, "sent")
    damaged = row_of({"id": "x", "kind": "upload", "holder": "", "modified": 1.0, "error": "it is damaged"}, "damaged")
    assert (videos.unit, ingest.unit, damaged.error) == ("videos", "references", "it is damaged")


def rates(shelf: Shelf) -> list[float]:
    return [row["bytes_rate"] for row in shelf.whole()["rows"]]


def test_rates_are_those_of_the_last_seconds_and_of_what_is_worked_on() -> None:
    shelf = Shelf("1")
    for second in range(60):
        moving = row_of(UPLOAD | {"bytes_sent": second * 100}, "unfinished")
        shelf.put([moving, row_of(EXPORT, "here")], float(second))
    assert rates(shelf) == [100.0, 0.0]
    stalled = row_of(UPLOAD | {"bytes_sent": 5900}, "unfinished")
    for second in range(60, 90):
        shelf.put([stalled], float(second))
    assert rates(shelf) == [0.0]
    shelf.put([row_of(UPLOAD | {"holder": ""}, "unfinished")], 91.0)
    assert rates(shelf) == [0.0]


def test_nothing_new_is_no_new_frame() -> None:
    shelf = Shelf("1")
    shelf.put([], 1.0)
    before = shelf.revision
    shelf.put([], 2.0)
    assert (before, []) == (shelf.revision, shelf.changes()["rows"])


def test_thousands_of_checkpoints_are_counted_and_the_latest_listed() -> None:
    shelf = Shelf("1")
    shelf.put((row_of(EXPORT | {"id": str(number)}, "here") for number in range(2000)), 1.0)
    picture = shelf.whole()
    assert (picture["total"], len(picture["rows"])) == (2000, MOST_LISTED)
    assert set(picture["rows"][0]) == set(Row.__struct_fields__)


def test_what_nobody_works_on_is_not_being_sent() -> None:
    detail = {
        "shards": 6,
        "per_cell": 2,
        "cells": [[0, "granted", 1], [0, "sent", 1], [1, "split", 2], [2, "failed", 2]],
    }
    held, free = cells_of(detail, is_held=True), cells_of(detail, is_held=False)
    assert held["totals"] == [0, 1, 0, 0, 1, 0, 2]
    assert free["totals"] == [1, 0, 0, 0, 1, 0, 2]
    assert [cell[0] for cell in held["cells"]] == [0, 2]
    assert cells_of({"error": "damaged"}, is_held=False)["totals"] == [0] * len(Place)
