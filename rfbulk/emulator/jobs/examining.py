"""What a job finds out: each input's hash, length, format and size, and the tables that tell it.

Blocking: everything here belongs in a thread.
"""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

import msgspec

from rfbulk.emulator.imagehead import HEAD_BYTES, read_image_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.emulator.jobs.inputs import Input
    from rfbulk.emulator.shelf import Shelf


class Finding(msgspec.Struct, frozen=True):
    """One row of results. What could not be found out is null; `error` says why."""

    name: str
    sha256: str | None
    bytes: int
    format: str | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None


def examine(shelf: Shelf, inputs: Sequence[Input], *, videos: bool) -> list[Finding]:
    """Read every input from end to end, and return what was found, in the same order."""
    return [_examine(shelf, each, videos) for each in inputs]


def write_table(findings: Sequence[Finding], form: str, what: str) -> bytes:
    """Write findings as CSV with a line of names, or as lines of JSON; the first column is named for what was read."""
    rows = [{what: finding.name, **_rest(finding)} for finding in findings]
    if form == "csv":
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([what, *Finding.__struct_fields__[1:]])
        table.writerows(row.values() for row in rows)
        return text.getvalue().encode()
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _rest(finding: Finding) -> dict[str, object]:
    row = msgspec.structs.asdict(finding)
    del row["name"]
    return row


def _examine(shelf: Shelf, each: Input, videos: bool) -> Finding:
    if each.url is not None:
        return Finding(each.name, None, 0, error="a reference: the emulator fetches nothing")
    whole, head = hashlib.sha256(), b""
    try:
        for piece in shelf.pieces(each.place):
            head = head or bytes(piece[:HEAD_BYTES])
            whole.update(piece)
    except KeyError:
        return Finding(each.name, None, each.place.size, error="the content was not kept")
    if videos:
        return Finding(each.name, whole.hexdigest(), each.place.size)
    image = read_image_head(head)
    if image is None:
        return Finding(each.name, whole.hexdigest(), each.place.size, error="not an image that can be read")
    return Finding(each.name, whole.hexdigest(), each.place.size, image.format, image.width, image.height)
