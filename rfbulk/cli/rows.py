"""Where a transfer stands, as named rows that fit a terminal of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rfbulk.cli.phrases import EXPORT_WAITS, UPLOAD_WAITS, at_once, connection, counts, waits
from rfbulk.core.wording import size

if TYPE_CHECKING:
    from rfbulk.cli.state import State
    from rfbulk.events import Connection, ExportProgress, UploadProgress

NARROW: Final = 70
"""Columns with less than which only the first of several like rows is shown: each of them takes some lines."""

MOST_SLOWEST: Final = 3
MOST_LINES: Final = 3
"""Lines that one row may take, where the terminal is narrow."""


@dataclass(frozen=True, slots=True)
class Row:
    """A name and what is told under it. Rows of a high `rank` go first where the terminal is low."""

    name: str
    pieces: Sequence[str]
    rank: int = 0
    is_trouble: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the drawing: a name, or none, and what stands beside it."""

    name: str
    text: str
    is_trouble: bool = False


def rows_of_upload(state: State, progress: UploadProgress) -> list[Row]:
    """Return the rows of an upload."""
    more = "" if progress.scan_finished else "+"
    failed = [f"{progress.shards_failed:,} failed"] if progress.shards_failed else []
    unsure = [f"{progress.shards_unsure:,} unsure"] if progress.shards_unsure else []
    has_shards = progress.shards_planned != progress.images_planned
    shards = [f"{progress.shards_sent:,} of {progress.shards_planned:,}{more}", *failed, *unsure]
    return _without_empty(
        Row(progress.content, [f"{progress.images_sent:,} of {progress.images_planned:,}{more}"]),
        Row("bytes", [f"{size(state.bytes_done)} of {size(progress.bytes_planned)}{more}"]),
        Row("shards", shards if has_shards or failed or unsure else [], rank=2),
        Row("rate", _rates(state)),
        Row("at once", at_once(progress.shards_in_flight, progress), rank=4),
        Row("waiting", waits(progress.waits, progress.rest_seconds, UPLOAD_WAITS), rank=5),
        Row("retries", counts(progress.retries), rank=3),
        Row("failures", _failures(progress.failures, progress.reasons), rank=1, is_trouble=True),
        Row("earlier", _earlier(progress.images_before, f"{progress.content} by earlier runs"), rank=6),
        *_slowest(progress.slowest),
        Row("batch", _batch(state), rank=8),
    )


def rows_of_export(state: State, progress: ExportProgress) -> list[Row]:
    """Return the rows of an export."""
    more = "" if progress.listing_finished else "+"
    done = progress.files_fetched + progress.files_here
    return _without_empty(
        Row("files", [f"{done:,} of {progress.files_listed:,}{more}"]),
        Row("bytes", [size(progress.bytes_fetched)]),
        Row("rate", _rates(state)),
        Row("at once", at_once(progress.fetches_in_flight, progress), rank=4),
        Row("waiting", waits(progress.waits, progress.rest_seconds, EXPORT_WAITS), rank=5),
        Row("retries", counts(progress.retries), rank=3),
        Row("failures", _failures(progress.failures, progress.reasons), rank=1, is_trouble=True),
        Row("earlier", _earlier(progress.files_here, "files by earlier runs"), rank=6),
        *_slowest(progress.slowest),
        Row("batch", _batch(state), rank=8),
    )


def _without_empty(*rows: Row) -> list[Row]:
    return [row for row in rows if row.pieces]


def _rates(state: State) -> list[str]:
    return [f"{size(state.rate)}/s now", f"{size(state.average)}/s on average"]


def _failures(failures: int, reasons: dict[str, int]) -> list[str]:
    return [f"{failures:,}", *counts(reasons)] if failures else []


def _earlier(before: int, text: str) -> list[str]:
    return [f"{before:,} {text}"] if before else []


def _slowest(slowest: Iterable[Connection]) -> list[Row]:
    """They are ranked one by one: the fewer lines there are, the fewer are shown."""
    shown = list(slowest)[:MOST_SLOWEST]
    return [Row("slowest" if not place else "", connection(one), rank=7 + place) for place, one in enumerate(shown)]


def _batch(state: State) -> list[str]:
    return [state.begun.batch_id] if state.begun is not None else []


def fitted(rows: Sequence[Row], width: int, height: int, cells: Callable[[str], int]) -> list[Line]:
    """Return the rows as at most `height` lines, none wider than `width`. `cells` measures a text.

    Where there is not room for all, the rows of the highest ranks go, and then the further lines of the others.
    """
    names = max((cells(row.name) for row in rows), default=0)
    room = max(1, width - names - 2)
    kept = [row for row in rows if row.name or width >= NARROW]
    while True:
        lines = [line for row in kept for line in _lines(row, room, cells)]
        ranks = [row.rank for row in kept]
        if len(lines) <= height or not any(ranks):
            return lines[: max(0, height)]
        kept.remove(kept[len(ranks) - 1 - ranks[::-1].index(max(ranks))])


def _lines(row: Row, room: int, cells: Callable[[str], int]) -> list[Line]:
    """Break between pieces. What has no room in the last line is cut there by who draws it."""
    texts: list[str] = []
    for piece in row.pieces:
        longer = f"{texts[-1]}, {piece}" if texts else piece
        if texts and (cells(longer) > room and len(texts) < MOST_LINES):
            texts[-1] += ","
            texts.append(piece)
        else:
            texts[-1:] = [longer]
    return [Line(row.name if not place else "", text, row.is_trouble) for place, text in enumerate(texts)]
