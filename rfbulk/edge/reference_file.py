"""A local list of references, one JSON object a line: looked at as a whole before anything is asked for."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Final

from rfbulk.core.ingesting import ReferenceGroup
from rfbulk.core.references import MAX_LINE_BYTES, Reference, ReferenceFault, reference_of
from rfbulk.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

GROUP: Final = 1000
MAX_FAULTS_SHOWN: Final = 10


class ReferenceFile:
    """A list that has been found good. Made by `open_reference_file`; every method blocks on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def scan(self) -> Iterator[ReferenceGroup]:
        """Give the references in the order of the file.

        Raises:
            SourceError: it cannot be read, or was changed since it was looked at.
        """
        references: list[Reference] = []
        with _opened(self._path) as file:
            for number, line in _lines(file):
                try:
                    reference = reference_of(line, is_first=number == 1)
                except ReferenceFault as fault:
                    raise SourceError(
                        "read references",
                        str(self._path),
                        cause=f"it was changed meanwhile: line {number}: {fault}",
                        advice="run the same again with the file as it is now",
                    ) from None
                if reference is not None:
                    references.append(reference)
                if len(references) == GROUP:
                    yield ReferenceGroup(references)
                    references = []
        if references:
            yield ReferenceGroup(references)

    def urls_of(self, references: Sequence[Reference]) -> Sequence[str]:
        """Return the URLs as the file has them."""
        return [reference.url for reference in references]

    def place_of(self, _reference: Reference) -> str:
        """Return nothing: where a file elsewhere is, its URL alone tells, which may permit to read it."""
        return ""


def open_reference_file(path: Path) -> ReferenceFile:
    """Look at every line of a list. Memory stays flat, however long it is.

    Raises:
        SourceError: it cannot be read.
        UsageError: a line is no reference, a name stands twice, or there is none; the first faults are named by line.
    """
    faults: list[str] = []
    count, bad = 0, 0
    with _opened(path) as file, _names() as names:
        for number, line in _lines(file):
            fault = _fault_of(names, number, line)
            if fault is None:
                continue
            count += 1
            if fault:
                bad += 1
                if len(faults) < MAX_FAULTS_SHOWN:
                    faults.append(f"line {number}: {fault}")
    if bad > len(faults):
        faults.append(f"and {bad - len(faults)} more")
    if bad:
        raise UsageError(
            "read references",
            str(path),
            cause=f"{bad} of {count} lines cannot be used: {'; '.join(faults)}",
            advice='each line looks like {"name": "a.jpg", "url": "https://…"}; nothing was sent',
        )
    if not count:
        raise UsageError(
            "read references",
            str(path),
            cause="it holds no reference",
            advice='write one a line: {"name": "a.jpg", "url": "https://…"}',
        )
    return ReferenceFile(path)


def _fault_of(names: sqlite3.Connection, number: int, line: bytes) -> str | None:
    """Return what is wrong with a line, "" if nothing is, None for an empty one."""
    try:
        reference = reference_of(line, is_first=number == 1)
    except ReferenceFault as fault:
        return str(fault)
    if reference is None:
        return None
    if names.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (reference.name, number)).rowcount:
        return ""
    first = names.execute("SELECT line FROM names WHERE name = ?", (reference.name,)).fetchone()[0]
    return f"its name stands in line {first} already"


@contextmanager
def _names() -> Iterator[sqlite3.Connection]:
    """Names seen so far, in an unnamed file that goes away with the connection."""
    with closing(sqlite3.connect("", isolation_level=None)) as names:
        names.execute("PRAGMA journal_mode = OFF").fetchall()
        names.execute("CREATE TABLE names (name TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        names.execute("BEGIN")
        yield names


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        cause = error.strerror or str(error)
        raise SourceError("read references", str(path), cause=cause, advice="check its spelling") from error


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give numbered lines. One that is far too long is given by its beginning, which is refused."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        yield number, line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 2)


def reference_identity(path: Path) -> str:
    """Return a list as a checkpoint knows it: absolute, links resolved, however it was spelled."""
    return os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
