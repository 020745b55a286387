"""Results files merged into one, in a stream: lines of JSON, or tables of CSV with the union of their columns.

Every row says where it is from, in a field or column `source_file`. The rows themselves go through byte by byte; one
that is malformed is named by its file and line, and never dropped without a word.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import orjson

from rfbulk.core.export_report import MAX_NAMED, BadLine, Merged
from rfbulk.edge.wholefile import whole_file
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE: Final = "source_file"
MAX_ROW_BYTES: Final = 64 << 20
"""A row that is longer is named instead: it would have to be held in memory."""

_MARK: Final = b"\xef\xbb\xbf"
_FIELD: Final = re.compile(rb'"[^"]*(?:""[^"]*)*"|[^",]*')
_FORMULA: Final = ("=", "+", "-", "@")


class MergeStopped(Exception):
    """The merge was stopped; nothing has been written."""


def merge_results(
    target: bytes, files: Callable[[], Iterable[str]], into: Path, *, is_stopped: Callable[[], bool]
) -> Merged:
    """Merge results files beneath `target` into one, of the kind that its own suffix says. Blocks on the disk.

    `files` gives their paths, and may be called several times. Without any, nothing is written.

    Raises:
        UsageError, NoRoom: it cannot be written, or a file not be read.
        MergeStopped: `is_stopped` said so.
    """
    merge = _Merge(target, is_stopped, Merged(path=str(into)))
    if next(iter(files()), None) is None:
        return merge.merged
    with whole_file(into, "--merge") as out:
        if into.suffix.lower() == ".csv":
            merge.tables(files, out)
        else:
            merge.lines(files(), out)
    return merge.merged


class _Merge:
    def __init__(self, target: bytes, is_stopped: Callable[[], bool], merged: Merged) -> None:
        self._target = target
        self._is_stopped = is_stopped
        self.merged = merged

    # lines of JSON

    def lines(self, files: Iterable[str], out: IO[bytes]) -> None:
        for path in files:
            source = orjson.dumps({SOURCE: path})[1:]
            with self._opened(path) as file:
                for number, line in _lines(file):
                    row = _sourced(line, source)
                    if isinstance(row, str):
                        self._name(path, number, row)
                    elif row:
                        out.write(row)
                        self.merged.rows += 1

    # tables

    def tables(self, files: Callable[[], Iterable[str]], out: IO[bytes]) -> None:
        union = self._union(files())
        if not union:
            return
        has_source = SOURCE.encode() not in (name for name, _ in union)
        names = [name for name, _ in union] + ([SOURCE.encode()] if has_source else [])
        out.write(b",".join(map(_quoted, names)) + b"\n")
        for path in files():
            ending = b"," + _cell(path) + b"\n" if has_source else b"\n"
            with self._opened(path) as file:
                self._table(path, _records(file), union, ending, out)

    def _union(self, files: Iterable[str]) -> list[tuple[bytes, int]]:
        """All columns in the order in which they are first met; equal ones of one table are told apart by number."""
        union: dict[tuple[bytes, int], None] = {}
        for path in files:
            with self._opened(path, count=False) as file:
                header = next(_records(file), None)
            for column in _columns(header[1]) if header else ():
                union.setdefault(column)
        return list(union)

    def _table(
        self,
        path: str,
        records: Iterator[tuple[int, bytes]],
        union: Sequence[tuple[bytes, int]],
        ending: bytes,
        out: IO[bytes],
    ) -> None:
        header = next(records, None)
        if header is None:
            return
        columns = _columns(header[1])
        places = [columns.index(column) if column in columns else -1 for column in union]
        is_same = places == list(range(len(columns)))
        for number, record in records:
            if not record.strip():
                continue
            fields = _fields(record)
            if fields is None or len(fields) != len(columns):
                self._name(path, number, _why_malformed(fields, columns))
                continue
            row = record if is_same else b",".join(fields[place] if place >= 0 else b"" for place in places)
            out.write(row + ending)
            self.merged.rows += 1

    # both

    def _opened(self, path: str, *, count: bool = True) -> IO[bytes]:
        if self._is_stopped():
            raise MergeStopped
        self.merged.files += count
        try:
            return open(os.path.join(self._target, os.fsencode(path)), "rb")  # noqa: PTH123 - bytes; the caller closes it
        except OSError as error:
            why = f"{path}: {error.strerror}"
            raise UsageError("merge", "results", cause=why, advice="run the same again to restore it") from None

    def _name(self, path: str, number: int, reason: str) -> None:
        self.merged.bad += 1
        if len(self.merged.bad_lines) < MAX_NAMED:
            self.merged.bad_lines.append(BadLine(path, number, reason))


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Give each line with its number. None stands for one that is too long."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES):
        number += 1
        is_whole = line.endswith(b"\n") or len(line) < MAX_ROW_BYTES
        while not is_whole:
            more = file.readline(MAX_ROW_BYTES)
            is_whole = more.endswith(b"\n") or len(more) < MAX_ROW_BYTES
            line = b""
        yield number, (line.removeprefix(_MARK) if number == 1 else line) if line else None


def _sourced(line: bytes | None, source: bytes) -> bytes | str:
    """Return a line with its source added, nothing for an empty one, or why it cannot be taken."""
    if line is None:
        return f"it has more than {MAX_ROW_BYTES >> 20} MiB"
    text = line.strip()
    if not text:
        return b""
    value = _parsed(text)
    if not isinstance(value, dict):
        return "it is no JSON object" if value is not None else "it is no JSON"
    if SOURCE in value:
        return text + b"\n"
    return text[:-1] + (b"," if value else b"") + source + b"\n"


def _parsed(text: bytes) -> object:
    """What JSON says, also with the NaN and the long numbers that Python writes. None for what is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _records(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give each record of a table with the number of its first line. One goes on while a quote is open."""
    begun, quotes, size = 0, 0, 0
    parts: list[bytes] = []
    for number, line in _lines(file):
        if not parts:
            begun = number
        text = b'"' if line is None else line  # too long: malformed for certain
        parts.append(text)
        quotes += text.count(b'"')
        size += len(text)
        if quotes % 2 == 0 or size > MAX_ROW_BYTES:
            yield begun, b"".join(parts).rstrip(b"\r\n")
            parts, quotes, size = [], 0, 0
    if parts:
        yield begun, b"".join(parts).rstrip(b"\r\n")


def _fields(record: bytes) -> list[bytes] | None:
    """Cut a record into its fields, as they are written. None if its quotes do not match."""
    if b'"' not in record:
        return record.split(b",")
    fields, at = [], 0
    while True:
        match = _FIELD.match(record, at)
        if match is None or record[match.end() : match.end() + 1] not in {b"", b","}:
            return None
        fields.append(match[0])
        if match.end() == len(record):
            return fields
        at = match.end() + 1


def _why_malformed(fields: list[bytes] | None, columns: Sequence[tuple[bytes, int]]) -> str:
    if fields is None:
        return "its quotes do not match"
    return f"it has {len(fields)} fields, the header {len(columns)}"


def _columns(header: bytes) -> list[tuple[bytes, int]]:
    columns: list[tuple[bytes, int]] = []
    for field in _fields(header) or header.split(b","):
        name = field[1:-1].replace(b'""', b'"') if field[:1] == b'"' else field
        columns.append((name, sum(name == other for other, _ in columns)))
    return columns


def _quoted(text: bytes) -> bytes:
    if any(mark in text for mark in (b",", b'"', b"\n", b"\r")):
        return b'"' + text.replace(b'"', b'""') + b'"'
    return text


def _cell(path: str) -> bytes:
    """A path as a cell; a spreadsheet must not take it for a formula."""
    return _quoted((f"'{path}" if path.startswith(_FORMULA) else path).encode())
